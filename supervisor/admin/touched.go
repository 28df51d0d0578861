package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Touched is what a restart did to single streams: those that were cut or in its way, and of those that waited for it the
// ones that waited longest. The counts of all are the restart's.
type Touched struct {
	Restart Past         `json:"restart"`
	Streams []PastStream `json:"streams"`
}

// PastStream is one stream that a restart touched.
type PastStream struct {
	RequestID string    `json:"request_id"`
	Client    string    `json:"client"` // its address
	Route     string    `json:"route"`  // method and path, without the query
	Outcome   string    `json:"outcome"`
	Cause     string    `json:"cause,omitempty"` // of a cut
	InTheWay  bool      `json:"in_the_way"`      // the restart was postponed for it, among others
	Life      int64     `json:"life"`            // that it was on last; 0: none
	Ended     time.Time `json:"ended"`           // or noted, if it was open
	AgeMS     int64     `json:"age_ms"`
	WaitedMS  int64     `json:"waited_ms"` // at the gate
	Bytes     int64     `json:"bytes"`     // of its answer that its client got
	Status    int       `json:"status"`    // of its answer; 0: none had begun
}

// StillOpen is the outcome of a stream that had not ended.
const StillOpen = "open"

func (c control) touched(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		replyError(w, http.StatusBadRequest, BadRequest, "the id of a restart is a number, from 1")
		return
	}
	t, err := c.Touched(r.Context(), id)
	if err != nil {
		replyRefusal(w, err)
		return
	}
	reply(w, http.StatusOK, t)
}

// Touched asks what a restart did to single streams. The error may be a Refusal with UnknownRestart.
func (c *Client) Touched(ctx context.Context, id int64) (Touched, error) {
	var t Touched
	if err := c.ask(ctx, http.MethodGet, fmt.Sprintf("/v1/history/%d/streams", id), nil, answerTime, &t); err != nil {
		return Touched{}, fmt.Errorf("ask for the streams of restart %d: %w", id, err)
	}
	return t, nil
}
