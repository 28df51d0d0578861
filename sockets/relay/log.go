package relay

import (
	"log/slog"
	"time"

	"autoglm-sidecar/sockets/arena"
)

// end is what the log says of a stream that was cut.
type end struct {
	id    string
	cause arena.Cause
	life  int64
	age   time.Duration
	bytes int64
}

// record counts a stream's end. It comes before the record that says the stream is over, so a death may count it
// twice and never miss it.
func (l *lane) record(c *conn) {
	r := &c.r
	l.count.Outcomes[r.Outcome].Add(1)
	if r.Outcome != arena.Cut {
		return
	}
	l.count.Causes[r.Cause].Add(1)
	select {
	case l.relay.ends <- end{
		id: string(c.slot.ID.Value()), cause: r.Cause, life: r.Life,
		age: time.Duration(l.now - r.Arrived), bytes: c.slot.Noted.DownGiven,
	}:
	default: // a lane never waits for the log
	}
}

// logEnds writes a line for each cut stream. A slow log loses lines, never a stream's time.
func (r *Relay) logEnds() {
	for e := range r.ends {
		r.Log.Error("stream cut", slog.String("cause", e.cause.String()), slog.String("request", e.id),
			slog.Int64("life", e.life), slog.Int64("age_ms", e.age.Milliseconds()), slog.Int64("connection_bytes", e.bytes))
	}
}
