package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// LongestWait bounds the long poll of a restart.
const LongestWait = time.Minute

const requestTime = 10 * time.Second // to read a request, and beyond its wait to answer it

// Options are what a control server needs beside its Backend.
type Options struct {
	Log   *slog.Logger // each action, with the uid that asked for it
	Owner *int         // uid that may act beside root; nil: the user that this process runs as
}

// ServeControl answers the API on the control socket until ctx ends, which is no error. It closes l.
//
//	GET  /v1/status                            Status
//	GET  /v1/config                            Config
//	POST /v1/restart {"now": bool}             202 Restart: begun or joined
//	GET  /v1/restart/{id}?after=N&wait=20s     Restart, as soon as its revision is above N, or after wait (at most 1m)
//	POST /v1/upgrade                           202 Upgrade: the program that came as a descriptor, else the one that lies where this came from
//	GET  /v1/history?limit=N&since=T&id=ID     History: restarts that have ended
//	GET  /v1/history/{id}/streams              Touched: what that restart did to single streams
//	POST /v1/stop {"now": bool}                Taken
//	POST /v1/start, /v1/drain, /v1/open        Taken
//	POST /v1/freeze {"for": "2h", "why": "...", "all": bool}, /v1/unfreeze    Taken
func ServeControl(ctx context.Context, l net.Listener, b Backend, o Options) error {
	c := control{Backend: b, log: o.Log, owner: os.Geteuid()}
	if o.Owner != nil {
		c.owner = *o.Owner
	}
	return serve(ctx, l, c.handler(), c.meet)
}

// ServeHealth answers /livez, /readyz and /metrics until ctx ends, which is no error. It closes l.
//
// /livez says only that this process answers: who kills a container for a sick worker cuts every stream of it.
// /readyz is Status.Ready: a hold that will end keeps it unless the settings say otherwise, a sidecar that refuses streams has
// lost it.
func ServeHealth(ctx context.Context, l net.Listener, b Backend) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s := b.Status(); !s.Ready {
			plain(w, http.StatusServiceUnavailable, fmt.Sprintf("not ready: life %d is %s, the gate is %s", s.Life, s.Phase, s.Gate.State))
			return
		}
		plain(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", metrics(b))
	mux.HandleFunc("/metrics", only("GET, HEAD"))
	mux.HandleFunc("/livez", only("GET, HEAD"))
	mux.HandleFunc("/readyz", only("GET, HEAD"))
	mux.HandleFunc("/", notFound)
	return serve(ctx, l, mux, nil)
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n")
}

// serve runs an HTTP server whose requests are bounded in size and time until ctx ends. meet, if not nil, is called for each
// connection before anything is read from it.
func serve(ctx context.Context, l net.Listener, h http.Handler, meet func(context.Context, net.Conn) context.Context) error {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		replyError(w, http.StatusForbidden, NotPermitted, "pages of other sites may not act here")
	}))
	s := &http.Server{
		Handler:           guard.Handler(h),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       requestTime,
		WriteTimeout:      LongestWait + requestTime,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnContext:       meet,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          log.New(io.Discard, "", 0), // what peers send wrong is theirs to see
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(bound(l)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	// Long polls end with ctx; what else is under way gets a moment.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s.Shutdown(last) != nil {
		s.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// control answers the API.
type control struct {
	Backend
	log   *slog.Logger
	owner int
}

func (c control) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", c.status)
	mux.HandleFunc("GET /v1/config", c.config)
	mux.HandleFunc("POST /v1/restart", c.restart)
	mux.HandleFunc("GET /v1/restart/{id}", c.follow)
	mux.HandleFunc("POST /v1/upgrade", c.upgrade)
	mux.HandleFunc("/v1/upgrade", only("POST"))
	mux.HandleFunc("GET /v1/history", c.history)
	mux.HandleFunc("/v1/history", only("GET, HEAD"))
	mux.HandleFunc("GET /v1/history/{id}/streams", c.touched)
	mux.HandleFunc("/v1/history/{id}/streams", only("GET, HEAD"))
	for _, verb := range verbs {
		mux.HandleFunc("POST /v1/"+string(verb), c.say(verb))
		mux.HandleFunc("/v1/"+string(verb), only("POST"))
	}
	mux.HandleFunc("/v1/status", only("GET, HEAD"))
	mux.HandleFunc("/v1/config", only("GET, HEAD"))
	mux.HandleFunc("/v1/restart", only("POST"))
	mux.HandleFunc("/v1/restart/{id}", only("GET, HEAD"))
	mux.HandleFunc("/", notFound)
	return mux
}

func (c control) status(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, c.Status()) }

// actor is the peer that asks for an action, if it may; if not, it is told.
func (c control) actor(w http.ResponseWriter, r *http.Request, action string) (Peer, bool) {
	peer, known := peerFrom(r.Context())
	if known && peer.mayAct(c.owner) {
		return peer, true
	}
	c.log.Warn(action+" refused", "reason", NotPermitted, "uid", peer.UID, "pid", peer.PID, "peer_known", known)
	replyError(w, http.StatusForbidden, NotPermitted,
		fmt.Sprintf("uid %d may look and not act; ask as root, or as the user that the sidecar runs as", peer.UID))
	return peer, false
}

func (c control) restart(w http.ResponseWriter, r *http.Request) {
	peer, may := c.actor(w, r, "restart")
	if !may {
		return
	}
	var request RestartRequest
	if err := decode(w, r, &request); err != nil {
		replyError(w, http.StatusBadRequest, BadRequest, "restart takes {\"now\": true or false}: "+err.Error())
		return
	}
	request.By = peer.String()
	begun, err := c.Restart(r.Context(), request)
	if err != nil {
		c.log.Warn("restart refused", "reason", err, "uid", peer.UID, "pid", peer.PID, "now", request.Now)
		replyRefusal(w, err)
		return
	}
	c.log.Info("restart asked for", "restart", begun.ID, "uid", peer.UID, "pid", peer.PID, "now", request.Now, "joined", begun.Joined)
	w.Header().Set("Location", fmt.Sprintf("/v1/restart/%d", begun.ID))
	reply(w, http.StatusAccepted, begun)
}

func (c control) follow(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		replyError(w, http.StatusBadRequest, BadRequest, "the id of a restart is a number")
		return
	}
	after, wait, err := pollOf(r)
	if err != nil {
		replyError(w, http.StatusBadRequest, BadRequest, err.Error())
		return
	}
	// Else the deadline for reading the request would pass while its answer is waited for, and end its context.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(wait + requestTime)); err != nil {
		replyRefusal(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	restart, err := c.Follow(ctx, id, after)
	if err != nil {
		replyRefusal(w, err)
		return
	}
	reply(w, http.StatusOK, restart)
}

// pollOf reads the query of a long poll. Without one the answer comes at once.
func pollOf(r *http.Request) (after int64, wait time.Duration, err error) {
	query := r.URL.Query()
	for name := range query {
		if name != "after" && name != "wait" {
			return 0, 0, fmt.Errorf("%q is neither after nor wait", name)
		}
	}
	if text := query.Get("after"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, 0, errors.New("after is the number of a revision")
		}
	}
	if text := query.Get("wait"); text != "" {
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 || wait > LongestWait {
			return 0, 0, fmt.Errorf("wait is a time as in 20s, at most %v", LongestWait)
		}
	}
	return after, wait, nil
}
