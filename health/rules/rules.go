// Package rules makes signals of what the instruments say: the answer of a probe, how far the streams of a life are, how
// answers have ended of late, what is seen of its GPUs. It knows the instruments' numbers and the judge's words, and nothing of
// who brings the one to the other; each rule is a few lines, and says when the fact is a bad one.
//
// A Plan is of the same kind, but makes wishes: it says when a restart that nothing calls for yet is best asked for.
package rules

import (
	"errors"
	"fmt"
	"time"

	"autoglm-sidecar/health"
	"autoglm-sidecar/health/probe"
)

// The kinds of probes, as settings have them.
const (
	TCP      = "tcp"
	HTTP     = "http"
	Exec     = "exec"
	Generate = "generate"
)

// codes are what is wrong where a probe of that kind fails.
var codes = map[string]health.Code{
	TCP: health.TCPFailed, HTTP: health.HTTPFailed, Exec: health.ExecFailed, Generate: health.GenerateFailed,
}

// Asked is the signal that a probe's answer is. Where nobody listens it says so, whatever was asked. An answer below 500
// to a request for a token is no sign of a sick engine: the page is missing, or wants a key.
func Asked(life int64, about, kind string, r probe.Result) health.Signal {
	s := health.Signal{Life: life, About: about, Code: codes[kind], Bad: r.Err != nil}
	if r.Err == nil {
		return s
	}
	s.Text = fmt.Sprintf("%v (after %v)", r.Err, roughly(r.Took))
	if kind == Exec {
		return s
	}
	status, answered := errors.AsType[*probe.StatusError](r.Err)
	switch {
	case errors.Is(r.Err, probe.ErrRefused):
		s.Code = health.WorkerDown
	case errors.Is(r.Err, probe.ErrUnconnected):
		s.Code = health.TCPFailed
	case kind == Generate && answered && status.Code < 500:
		s.Bad, s.Unfit = false, true
	}
	return s
}

// Progress is how far the streams of one life are.
type Progress struct {
	Life      int64
	Answering int           // streams that have had a byte of their answer, and wait for the next
	Waiting   int           // that wait for their first byte
	Overdue   int           // of those: for longer than a prompt may take
	Silence   time.Duration // since a stream of the life got a byte, or began to wait for one
}

// Stall is bad if streams are open and none has got a byte for hung. A stream that waits for its first byte counts only
// when it is overdue: its prompt is being processed. If hung is 0 it never is bad.
func Stall(about string, p Progress, hung time.Duration) health.Signal {
	s := health.Signal{Life: p.Life, About: about, Code: health.WorkerSilent}
	counted := p.Answering + p.Overdue
	if hung > 0 && counted > 0 && p.Silence >= hung {
		s.Bad = true
		s.Text = fmt.Sprintf("%d streams are open and none got a byte for %v", counted, roughly(p.Silence))
		if counted == 1 {
			s.Text = fmt.Sprintf("1 stream is open and got no byte for %v", roughly(p.Silence))
		}
		if young := p.Waiting - p.Overdue; young > 0 {
			s.Text += fmt.Sprintf(", %d more wait for their first", young)
		}
	}
	return s
}

// roughly is a time as people want to know it.
func roughly(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
