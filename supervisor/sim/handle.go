package sim

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// handle answers one request. It says whether the connection can take another.
func (c *connection) handle(r *http.Request) (more bool) {
	s := c.server
	path := r.URL.Path
	if path == "/sim/state" || path == "/sim/faults" || path == "/sim/gpu" && s.gpu != nil {
		return c.control(r) // even of a worker that hangs
	}
	s.requests.Add(1)
	if s.options.AccessLog {
		s.print("INFO:     %s - %q", c.net.RemoteAddr(), r.Method+" "+r.RequestURI+" "+r.Proto)
	}
	if s.faults.Load().Hang == HangServer {
		return c.hang(r)
	}
	if !s.ready.Load() {
		return c.refuse(r, http.StatusServiceUnavailable, "ServiceUnavailableError", "simulated worker: still loading")
	}
	switch path {
	case "/v1/chat/completions", "/v1/completions", "/sim/echo":
		return c.strike(r)
	}
	if s.saturated() {
		return c.hang(r)
	}
	return c.tell(r, path)
}

// tell answers those who ask how the worker is.
func (c *connection) tell(r *http.Request, path string) (more bool) {
	s := c.server
	switch path {
	case "/health", "/ping", "/health_generate":
		if r.Method != http.MethodGet && r.Method != http.MethodHead && (path != "/ping" || r.Method != http.MethodPost) {
			return c.notAllowed(r, "GET")
		}
		if path == "/health_generate" && s.hanging() {
			return c.hang(r) // SGLang asks its engine for a token; vLLM's /health looks at a flag
		}
		status := http.StatusOK
		if s.leaving.Load() {
			status = http.StatusServiceUnavailable
		}
		return c.plain(r, status, "", nil)
	case "/metrics":
		return c.plain(r, http.StatusOK, typeMetrics, s.metrics())
	case "/version":
		return c.plain(r, http.StatusOK, typeJSON, []byte(`{"version":"0.0.0+`+serverName+`"}`))
	case "/v1/models":
		return c.plain(r, http.StatusOK, typeJSON, s.models())
	default:
		return c.plain(r, http.StatusNotFound, typeJSON, []byte(`{"detail":"Not Found"}`))
	}
}

// strike handles the requests that the switches of Stream reach.
func (c *connection) strike(r *http.Request) (more bool) {
	way, err := c.server.wayOf(r)
	if err != nil {
		return c.refuse(r, http.StatusBadRequest, "BadRequestError", err.Error())
	}
	c.server.beginOne()
	switch {
	case way.EarlyStatus != 0:
		defer c.server.ended(false)
		body := errorBody(way.EarlyStatus, "BadRequestError", "simulated early answer")
		c.write(appendPlain(nil, r, way.EarlyStatus, c.server.wall(), typeJSON, body, "connection", "close"))
		if !way.EarlyReset {
			c.closeGently()
		}
		return false
	case r.URL.Path == "/sim/echo":
		return c.echo(r, way)
	case r.Method != http.MethodPost:
		defer c.server.endOne()
		return c.notAllowed(r, "POST")
	default:
		return c.answer(r, way)
	}
}

// wayOf is how a request is served: the switches in force unless Every spares it, changed by its X-Sim header.
func (s *server) wayOf(r *http.Request) (Stream, error) {
	faults := s.faults.Load()
	way := faults.Stream
	if s.turns.Add(1)%int64(faults.Every) != 0 {
		way = way.paceOnly()
	}
	if header := r.Header.Get("X-Sim"); header != "" {
		return way.with([]byte(header))
	}
	return way, nil
}

// answer reads the question and has the pacer answer it.
func (c *connection) answer(r *http.Request, way Stream) (more bool) {
	s, began := c.server, time.Now()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return c.lostBody(r, err, began)
	}
	chat := r.URL.Path == "/v1/chat/completions"
	asked, prompt, err := parseQuestion(body, chat, s.options.Model)
	if len(body) > maxBody {
		err = fmt.Errorf("request body is larger than %d bytes", maxBody)
	}
	if err != nil {
		defer s.endOne()
		return c.refuse(r, http.StatusBadRequest, "BadRequestError", err.Error())
	}
	s.gpu.requested()
	faults := s.faults.Load()
	if mark := faults.CrashOnPrompt; mark != "" && strings.Contains(prompt, mark) {
		s.crash(faults.CrashExit)
	}
	d := &delivery{
		conn: c, request: r, began: began, queued: faults.Saturated, prompt: asked.promptTokens,
		answer: newAnswer(s.dialect(asked, r), way, !r.ProtoAtLeast(1, 1), r.Close, s.pacer.now()),
	}
	s.pacer.add(d)
	if s.aborting.Load() {
		s.pacer.abortAll()
	}
	more, reason := c.watch(d)
	if reason != "" {
		s.left(d, reason)
	}
	return more
}

// dialect gives the answer its names, as vLLM does: the id repeats the request's X-Request-Id.
func (s *server) dialect(asked question, r *http.Request) dialect {
	id := r.Header.Get("X-Request-Id")
	if id == "" {
		id = fmt.Sprintf("%016x", rand.Uint64())
	}
	kind := "cmpl-"
	if asked.chat {
		kind = "chatcmpl-"
	}
	asked.model = string(appendJSON(nil, asked.model))
	return dialect{question: asked, id: kind + string(appendJSON(nil, id)), life: s.life, created: s.wall().Unix()}
}

// lostBody ends a request whose body did not come whole.
func (c *connection) lostBody(r *http.Request, err error, began time.Time) (more bool) {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || lost(err) {
		c.server.endOne()
		c.server.depart(r, "request", 0, began, err.Error(), c.net.RemoteAddr().String())
		return false
	}
	defer c.server.endOne()
	c.server.malformed.Add(1)
	return c.refuse(r, http.StatusBadRequest, "BadRequestError", "read request body: "+err.Error())
}

// hang never answers. It ends when the client leaves or the worker does.
func (c *connection) hang(r *http.Request) (more bool) {
	c.server.beginOne()
	began := time.Now()
	_, err := io.Copy(io.Discard, c.reader)
	reason := io.EOF.Error()
	if err != nil {
		reason = err.Error()
	}
	c.server.endOne()
	c.server.depart(r, "hung", 0, began, reason, c.net.RemoteAddr().String())
	return false
}

// plain answers with a whole body.
func (c *connection) plain(r *http.Request, status int, contentType string, body []byte, fields ...string) (more bool) {
	return c.write(appendPlain(nil, r, status, c.server.wall(), contentType, body, fields...)) == nil
}

// refuse answers with an error as vLLM words it.
func (c *connection) refuse(r *http.Request, status int, kind, message string) (more bool) {
	return c.plain(r, status, typeJSON, errorBody(status, kind, message))
}

func (c *connection) notAllowed(r *http.Request, allow string) (more bool) {
	return c.plain(r, http.StatusMethodNotAllowed, typeJSON, []byte(`{"detail":"Method Not Allowed"}`), "allow", allow)
}

// models is the answer of /v1/models.
func (s *server) models() []byte {
	var body strings.Builder
	model, created := string(appendJSON(nil, s.options.Model)), strconv.FormatInt(s.wall().Unix(), 10)
	body.WriteString(`{"object":"list","data":[{"id":"` + model + `","object":"model","created":` + created +
		`,"owned_by":"` + serverName + `","root":"` + model + `","parent":null,"max_model_len":25480,"permission":[{"id":"modelperm-` +
		s.life + `","object":"model_permission","created":` + created + `,"allow_create_engine":false,"allow_sampling":true,` +
		`"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*",` +
		`"group":null,"is_blocking":false}]}]}`)
	return []byte(body.String())
}
