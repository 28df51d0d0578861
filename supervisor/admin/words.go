package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Verb is what an operator may ask for beside a restart. Its path is /v1/ and its name.
type Verb string

// The verbs.
const (
	Stop     Verb = "stop"     // the worker: its streams end, then it is ended, and the gate refuses
	Start    Verb = "start"    // takes a stop back, or ends a halt or a back-off
	Drain    Verb = "drain"    // the gate holds, the worker is left alone
	Open     Verb = "open"     // takes a drain back
	Freeze   Verb = "freeze"   // no life that serves is ended by a judge or an operator
	Unfreeze Verb = "unfreeze" // takes a freeze back
)

var verbs = []Verb{Stop, Start, Drain, Open, Freeze, Unfreeze}

// Word is what an operator says.
type Word struct {
	Verb Verb
	By   string // who says it, as in "uid 0": from the socket, never from the request
	Now  bool   // Stop: cut the streams that are open rather than wait for them
	FreezeRequest
}

// FreezeRequest says what is frozen for how long. For and Why are needed.
type FreezeRequest struct {
	For Span   `json:"for"`
	Why string `json:"why"`
	All bool   `json:"all"` // a worker that crashes stays down, too
}

// StopRequest says how the worker is to be stopped.
type StopRequest struct {
	Now bool `json:"now"`
}

// Taken is the answer to a word: it is in force from here on, and Status shows how far it is.
type Taken struct {
	Already bool  `json:"already"` // it was so before
	Life    int64 `json:"life"`
}

// Span is a time that is written as in 90s or 2h.
type Span time.Duration

// MarshalText writes it.
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads it.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%.40q is no time as in 90s or 2h", text)
	}
	*s = Span(d)
	return nil
}

// bodies are what the requests take, in the words of an error.
var bodies = map[Verb]string{
	Stop:   `{"now": true or false}`,
	Freeze: `{"for": "2h", "why": "...", "all": true or false}`,
}

// readWord reads the body of a request.
func readWord(w http.ResponseWriter, r *http.Request, verb Verb) (Word, error) {
	word := Word{Verb: verb}
	var err error
	switch verb {
	case Stop:
		var s StopRequest
		err = decode(w, r, &s)
		word.Now = s.Now
	case Freeze:
		err = decode(w, r, &word.FreezeRequest)
	case Start, Drain, Open, Unfreeze:
		err = decode(w, r, &struct{}{})
	}
	if err != nil {
		takes := bodies[verb]
		if takes == "" {
			takes = "nothing, or {}"
		}
		return word, fmt.Errorf("%s takes %s: %w", verb, takes, err)
	}
	return word, nil
}

// say answers the requests of one verb.
func (c control) say(verb Verb) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer, ok := c.actor(w, r, string(verb))
		if !ok {
			return
		}
		word, err := readWord(w, r, verb)
		if err != nil {
			replyError(w, http.StatusBadRequest, BadRequest, err.Error())
			return
		}
		word.By = peer.String()
		attrs := []any{"uid", peer.UID, "pid", peer.PID}
		switch verb {
		case Stop:
			attrs = append(attrs, "now", word.Now)
		case Freeze:
			attrs = append(attrs, "for", time.Duration(word.For).String(), "why", word.Why, "all", word.All)
		case Start, Drain, Open, Unfreeze:
		}
		taken, err := c.Say(r.Context(), word)
		if err != nil {
			c.log.Warn(string(verb)+" refused", append(attrs, slog.Any("reason", err))...)
			replyRefusal(w, err)
			return
		}
		c.log.Info(string(verb)+" asked for", append(attrs, "already", taken.Already)...)
		reply(w, http.StatusOK, taken)
	}
}

// Say says a word. The error may be a Refusal.
func (c *Client) Say(ctx context.Context, w Word) (Taken, error) {
	var body any = struct{}{}
	switch w.Verb {
	case Stop:
		body = StopRequest{Now: w.Now}
	case Freeze:
		body = w.FreezeRequest
	case Start, Drain, Open, Unfreeze:
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Taken{}, err
	}
	var taken Taken
	if err := c.askAgain(ctx, http.MethodPost, "/v1/"+string(w.Verb), text, answerTime, &taken); err != nil {
		return Taken{}, fmt.Errorf("ask to %s: %w", w.Verb, err)
	}
	return taken, nil
}
