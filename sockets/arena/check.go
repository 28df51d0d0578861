package arena

import (
	"errors"
	"slices"
	"sync/atomic"

	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/sse"
)

// farthest bounds every offset and count, so that sums and differences of them can't overflow.
const farthest = 1 << 62

// Check says what in slot i no runner can have written, nil where all of it could be a runner's. It is for a take-over,
// before it believes a single number: memory that a fault of ours, or of the machine's, has scribbled over may then
// cost that slot's stream, and nothing else. It knows what holds after each store of a runner, whenever that one died;
// whether the kernel agrees, and whether the bytes in the areas are what they should be, is asked by others.
//
// It is pure, and safe for any bytes whatsoever. It can't look into the framing scanners (http1.Body) and the dialect.
func (a *Arena) Check(i int) error {
	s := a.Slot(i)
	r, n := a.Committed(i), &s.Noted
	for _, rule := range [...]struct {
		holds bool
		what  string
	}{
		{atomic.LoadInt64(&s.used) == 1, "its mark of use is no mark"},
		{0 <= s.Suspect && s.Suspect < farthest, "it can't have been suspected so often"},
		{r.Phase < phases && r.Outcome < outcomes && r.Cause < causes && r.Framing <= http1.FramingClose, "a phase, outcome, cause or framing that there isn't"},
		{r.Flags < flags, "flags that there aren't"},
		{r.Front < MaxFronts, "a front that there isn't"},
		{slices.Contains(scanners, r.Events), "an event scanner that stands nowhere"},
		{s.ID.plausible(), "a request id that is none"},
		{r.descriptors(), "descriptors that don't fit each other or the phase"},
		{r.bounded(n), "an offset or a count below 0 or beyond all bounds"},
		{r.Lives <= 2 && r.Crashes <= 2, "it can't have lost so many lives"},
		{r.copied(n), "a copy of the request that can't be one"},
		{r.readsUp(n.UpTaken), "what was read from the client lies outside of its area"},
		{r.Down.writes(n.DownGiven), "what goes to the client lies outside of its area"},
		{r.Worker < 0 || r.Down.reads(n.DownTaken), "what was read from the worker lies outside of its area"},
		{r.Worker < 0 || r.Up.writes(n.UpGiven) && r.Up.Safe == r.Up.Out, "what goes to the worker lies outside of its area"},
		{r.PipeR < 0 || n.UpGiven <= n.UpPiped && n.UpPiped <= r.Up.Safe, "the worker's pipe holds what there isn't"},
		{r.ClientPipeR < 0 || n.DownGiven <= n.DownPiped && n.DownPiped <= r.Down.Safe, "the client's pipe holds what there isn't"},
		{r.stage(n), "it can't be where it is"},
	} {
		if !rule.holds {
			return errors.New(rule.what)
		}
	}
	return nil
}

// scanners are all that an sse.Scanner can be; it keeps its states to itself, and from any other it would never return.
var scanners = func() (all []sse.Scanner) {
	for _, seen := range []string{"", "x", "x\n", "x\r", "\r"} {
		var s sse.Scanner
		s.Next([]byte(seen))
		all = append(all, s)
	}
	return all
}()

// plausible: what heads are edited with must be visible ASCII.
func (d *ID) plausible() bool {
	if d.Len < 0 || d.Len > int64(len(d.Bytes)) {
		return false
	}
	for _, b := range d.Value() {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return true
}

// descriptors: a worker's connection is there while bytes are relayed, and only then; a pipe has two ends.
func (r *Record) descriptors() bool {
	switch {
	case r.Client < 0, r.Worker < -1, r.PipeR < -1, r.PipeW < -1, r.ClientPipeR < -1, r.ClientPipeW < -1,
		(r.Worker >= 0) != (r.Phase == Relay),
		(r.PipeR >= 0) != (r.PipeW >= 0), r.PipeR >= 0 && r.Worker < 0,
		(r.ClientPipeR >= 0) != (r.ClientPipeW >= 0):
		return false
	}
	named := r.Descriptors()
	slices.Sort(named)
	return len(slices.Compact(named)) == len(r.Descriptors())
}

func (r *Record) bounded(n *Noted) bool {
	for _, v := range [...]int64{
		r.Up.InBase, r.Up.Judged, r.Up.OutBase, r.Up.Safe, r.Up.Out,
		r.Down.InBase, r.Down.Judged, r.Down.OutBase + OutSize, r.Down.Safe, r.Down.Out, // OutBase: see NearSize
		n.UpTaken, n.UpGiven, n.DownTaken, n.DownGiven, n.UpPiped, n.DownPiped, r.HeadAt, r.LostOn, r.Kept, r.GivenFrom, r.Wish.Read,
	} {
		if v < 0 || v >= farthest {
			return false
		}
	}
	return true
}

// copied: what is kept begins with the head, has come, and goes on in the input area without a gap. Nothing is kept
// of a stream that neither waits nor is relayed.
func (r *Record) copied(n *Noted) bool {
	return r.Kept == 0 || (r.Phase == Held || r.Phase == Relay) && !r.Has(Uncopied) && int64(r.HeadLen) <= r.Kept && 0 < r.HeadLen &&
		r.HeadAt+r.Kept <= n.UpTaken && r.Up.InBase <= r.HeadAt+r.Kept
}

// readsUp: what was taken from the client and not judged lies in the input area, or its beginning in the copy.
func (r *Record) readsUp(taken int64) bool {
	h := r.Up
	if r.Kept > 0 && r.HeadAt <= h.Judged {
		h.Judged = max(h.Judged, h.InBase)
	}
	return h.reads(taken) && r.Up.Judged <= taken
}

// reads: the input area holds what was taken and not judged.
func (h *Half) reads(taken int64) bool {
	return h.InBase <= h.Judged && h.Judged <= taken && taken-h.InBase <= InSize
}

// writes: the output area holds what is to be given.
func (h *Half) writes(given int64) bool {
	return h.OutBase <= given && given <= h.Safe && h.Safe <= h.Out && h.Out-h.OutBase <= OutSize
}

// stage: the phase agrees with how far the stream has come.
func (r *Record) stage(n *Noted) bool {
	begun := r.Has(AnswerBegun)
	if r.Has(EarlyAnswer) && (r.Framing != http1.FramingChunked || r.Has(KeepAlive)) {
		return false
	}
	if !begun && r.Flags&(EventStream|Judged|Opaque|LastChunkDown) != 0 {
		return false
	}
	if r.Down.Safe < r.Down.Out && (r.Phase != Relay || r.Flags&(EventStream|LastChunkDown) == 0) {
		return false // only an event, or trailers, wait for their end
	}
	switch r.Phase {
	case Held:
		return r.Outcome == Pending && !begun && r.Up.Judged == r.HeadAt && r.headFits(n.UpTaken)
	case Relay:
		// Until the worker has got a byte the head stays: the stream may have to go back to the gate.
		return r.Life != 0 && r.GivenFrom <= n.UpGiven && (n.UpGiven > r.GivenFrom || r.headFits(r.Up.Judged))
	case Flush:
		return r.Outcome != Pending
	default: // Head, Linger: the client has got all that there was for it
		return n.DownGiven == r.Down.Safe
	}
}

// headFits: the request's head lies in the input area or in the copy, before end.
func (r *Record) headFits(end int64) bool {
	return (r.Up.InBase <= r.HeadAt || r.Kept > 0) && 0 < r.HeadLen && r.HeadLen <= http1.MaxHead && r.HeadAt+int64(r.HeadLen) <= end
}
