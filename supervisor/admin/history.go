package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Past is a restart that has ended, as the ledger has it. A time of 0 took none, or was not there.
type Past struct {
	ID       int64     `json:"id"`
	Reason   string    `json:"reason"`        // operator, crashed, unhealthy, ...
	By       string    `json:"by,omitempty"`  // who asked, as in "uid 0"
	Why      string    `json:"why,omitempty"` // what was seen
	Began    time.Time `json:"began"`
	TookMS   int64     `json:"took_ms"`
	Outcome  Outcome   `json:"outcome"`
	Error    string    `json:"error,omitempty"` // why it is no better, or what was odd about it
	FromLife int64     `json:"from_life"`       // 0: there was none
	ToLife   int64     `json:"to_life"`         // 0: none was started
	Starts   int       `json:"starts"`          // lives that were started for it; all but the last failed
	Joined   int       `json:"joined"`          // others that asked for it while it was under way

	PhasesMS map[string]int64 `json:"phases_ms"` // what each phase took, of those that took any time

	Open          int   `json:"open"`       // streams in flight when it began
	InTheWay      int   `json:"in_the_way"` // of these, when it was postponed
	Held          int64 `json:"held"`
	LongestHoldMS int64 `json:"longest_hold_ms"`
	LongestGapMS  int64 `json:"longest_gap_ms"` // between two pieces of an answer
	Cut           int64 `json:"cut"`
	Refused       int64 `json:"refused"`

	// Memory is that of the life before, a curve for each of its GPUs. It is told only of one restart that was asked for by its ID: of a
	// thousand it would be too much.
	Memory []GPUMemory `json:"memory,omitempty"`
}

// HistoryQuery says which restarts are asked for.
type HistoryQuery struct {
	Limit int       // at most so many, the newest; 0: DefaultHistory
	Since time.Time // only those that began then or later; zero: all
	ID    int64     // only the one of this number; 0: any
}

// Bounds of HistoryQuery.Limit.
const (
	DefaultHistory = 20
	MostHistory    = 1000
)

// History is the answer to a HistoryQuery: newest first.
type History struct {
	Restarts []Past `json:"restarts"`
}

func (c control) history(w http.ResponseWriter, r *http.Request) {
	q, err := historyQueryOf(r.URL.Query())
	if err != nil {
		replyError(w, http.StatusBadRequest, BadRequest, err.Error())
		return
	}
	restarts, err := c.History(r.Context(), q)
	if err != nil {
		replyRefusal(w, err)
		return
	}
	reply(w, http.StatusOK, History{Restarts: restarts})
}

// historyQueryOf reads a query.
func historyQueryOf(values url.Values) (HistoryQuery, error) {
	q := HistoryQuery{Limit: DefaultHistory}
	var err error
	for name := range values {
		text := values.Get(name)
		switch name {
		case "limit":
			if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > MostHistory {
				return q, fmt.Errorf("limit is a number from 1 to %d", MostHistory)
			}
		case "since":
			if q.Since, err = time.Parse(time.RFC3339, text); err != nil {
				return q, errors.New("since is a time as in 2026-11-24T03:00:00Z")
			}
		case "id":
			if q.ID, err = strconv.ParseInt(text, 10, 64); err != nil || q.ID < 1 {
				return q, errors.New("id is the number of a restart, from 1")
			}
		default:
			return q, fmt.Errorf("%.40q is none of limit, since and id", name)
		}
	}
	return q, nil
}

// values writes a query.
func (q HistoryQuery) values() url.Values {
	v := url.Values{}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339))
	}
	if q.ID != 0 {
		v.Set("id", strconv.FormatInt(q.ID, 10))
	}
	return v
}

// Most is how many are asked for.
func (q HistoryQuery) Most() int { return cmp.Or(q.Limit, DefaultHistory) }

// Pick returns those of all, newest first, that are asked for.
func (q HistoryQuery) Pick(all []Past) []Past {
	picked := []Past{}
	most := q.Most()
	for _, p := range all {
		if len(picked) == most {
			break
		}
		if (q.ID == 0 || p.ID == q.ID) && !p.Began.Before(q.Since) {
			if q.ID == 0 {
				p.Memory = nil
			}
			picked = append(picked, p)
		}
	}
	return picked
}

// History asks for restarts that have ended, newest first.
func (c *Client) History(ctx context.Context, q HistoryQuery) ([]Past, error) {
	var h History
	path := "/v1/history"
	if v := q.values(); len(v) > 0 {
		path += "?" + v.Encode()
	}
	if err := c.askAgain(ctx, http.MethodGet, path, nil, answerTime, &h); err != nil {
		return nil, fmt.Errorf("ask for the history: %w", err)
	}
	return h.Restarts, nil
}
