package sim

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
)

// control answers /sim/state, /sim/faults and /sim/gpu.
func (c *connection) control(r *http.Request) (more bool) {
	s := c.server
	switch {
	case r.URL.Path == "/sim/gpu":
		return c.controlGPU(r)
	case r.URL.Path == "/sim/state" && r.Method == http.MethodGet:
		return c.object(r, s.state())
	case r.URL.Path == "/sim/faults" && r.Method == http.MethodGet:
		return c.object(r, s.faults.Load())
	case r.URL.Path == "/sim/faults" && r.Method == http.MethodPost:
		patch, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return false
		}
		if err := s.change(patch); err != nil {
			return c.refuse(r, http.StatusBadRequest, "BadRequestError", err.Error())
		}
		return c.object(r, s.faults.Load())
	case r.URL.Path == "/sim/faults":
		return c.notAllowed(r, "GET, POST")
	default:
		return c.notAllowed(r, "GET")
	}
}

// controlGPU answers /sim/gpu.
func (c *connection) controlGPU(r *http.Request) (more bool) {
	d := c.server.gpu
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		patch, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return false
		}
		if bad, err := d.turn(patch); bad {
			return c.refuse(r, http.StatusBadRequest, "BadRequestError", err.Error())
		} else if err != nil {
			return c.refuse(r, http.StatusInternalServerError, "InternalServerError", err.Error())
		}
	default:
		return c.notAllowed(r, "GET, POST")
	}
	now, err := d.state()
	if err != nil {
		return c.refuse(r, http.StatusInternalServerError, "InternalServerError", err.Error())
	}
	return c.object(r, now)
}

// object answers with a value as JSON.
func (c *connection) object(r *http.Request, value any) (more bool) {
	body, err := json.Marshal(value)
	if err != nil {
		return c.refuse(r, http.StatusInternalServerError, "InternalServerError", err.Error())
	}
	return c.plain(r, http.StatusOK, typeJSON, append(body, '\n'))
}

func (s *server) state() State {
	return State{
		Simulated: true, PID: os.Getpid(), Life: s.life, Ready: s.ready.Load(), Leaving: s.leaving.Load(),
		Connections: s.connections.Load(), Requests: s.requests.Load(), Malformed: s.malformed.Load(),
		Open: s.open.Load(), MostAtOnce: s.pacer.mostAtOnce(), Whole: s.whole.Load(), Broken: s.broken.Load(), ClientsLeft: s.clientsLeft.Load(),
		Tokens: s.tokens.Load(), Departures: s.lastDepartures(), Faults: *s.faults.Load(),
		NowUnixMicro: s.wall().UnixMicro(), StartUnixMicro: s.born.UnixMicro(),
	}
}
