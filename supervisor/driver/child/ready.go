package child

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/sockets/tcpdiag"
)

// How long one probe may take, and how often a worker is asked. Nobody listening costs next to nothing to find out, and
// the streams that are held wait for us to notice; a worker that answers writes a line into its log each time.
const (
	probePatience = 10 * time.Second // where nobody said another
	askSilent     = 10 * time.Millisecond
	askMin        = 10 * time.Millisecond
	askMax        = 500 * time.Millisecond
	askShare      = 100 // of the time it has taken so far, so that we notice at most 1 % later than it is true
)

// tellEvery is how often output counts as progress: once in a while is enough to move a deadline of minutes.
const tellEvery = 100 * time.Millisecond

// Ready returns nil when the probe passes and the socket that it reached belongs to this life. An error says why that
// will not come about; when ctx ends first, what was missing.
func (p *process) Ready(ctx context.Context, progress func(what string)) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	asking, stop := context.WithCancel(ctx)
	defer stop()

	told := serial(progress)
	tasks.Go(func() { p.tellLines(asking, told) })
	tasks.Go(func() {
		select {
		case <-p.gone:
			stop() // ends a probe that is under way
		case <-asking.Done():
		}
	})

	err := p.askUntilReady(asking, told)
	if p.isGone() && errors.Is(err, context.Canceled) {
		return p.endedTooEarly(ctx)
	}
	if err == nil {
		p.noteReady()
	}
	return err
}

// serial lets one call happen at a time.
func serial(f func(string)) func(string) {
	var mu sync.Mutex
	return func(what string) {
		mu.Lock()
		defer mu.Unlock()
		f(what)
	}
}

// askUntilReady asks until the answer is final.
func (p *process) askUntilReady(ctx context.Context, progress func(string)) error {
	ask := p.d.opts.Probe(p.at.Network, p.at.Address)
	best, hidden := probe.Nowhere, 0
	for {
		err := p.askOnce(ctx, ask)
		reach := probe.ReachOf(err)
		if reach == probe.Passed {
			err = p.owned(ctx)
			if _, unseen := errors.AsType[*tcpdiag.HiddenError](err); unseen && hidden < 10 {
				hidden++ // also a socket that was closed while we looked
			} else if err == nil {
				p.pending.Store(nil)
				return nil
			} else if !errors.Is(err, tcpdiag.ErrNobody) && ctx.Err() == nil {
				return p.wrongForGood(err)
			}
		}
		if ctx.Err() == nil {
			p.waitsFor(p.problem(err))
		}
		if reach > best && reach < probe.Passed {
			best = reach
			progress("probe: " + err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause(time.Since(p.began), reach)):
		}
		if ctx.Err() != nil {
			return p.notReady(err, ctx.Err())
		}
	}
}

func (p *process) askOnce(ctx context.Context, ask probe.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, p.d.opts.ProbePatience)
	defer cancel()
	return ask(ctx)
}

// pause is how long to wait before the next probe.
func pause(soFar time.Duration, reach probe.Reach) time.Duration {
	if reach == probe.Nowhere {
		return askSilent
	}
	return min(max(soFar/askShare, askMin), askMax)
}

func (p *process) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// tellLines makes progress of what the worker prints, but not of the lines that our own questions make it print.
func (p *process) tellLines(ctx context.Context, progress func(string)) {
	latest := make(chan string, 1)
	stop := p.d.output.listen(func(line []byte) {
		if len(line) > longestLine {
			line = line[:longestLine]
		}
		text := printable(string(line))
		if echo := p.d.opts.ProbeEcho; strings.TrimSpace(text) == "" || echo != "" && strings.Contains(text, echo) {
			return
		}
		text = p.d.opts.Redact(text)
		select { // the latest line wins; whoever prints never waits
		case <-latest:
		default:
		}
		latest <- text
	})
	defer stop()
	for {
		select {
		case line := <-latest:
			progress(line)
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(tellEvery):
		case <-ctx.Done():
			return
		}
	}
}

// waitFirst is how much longer than Wait it takes Ready to tell that the main process is gone: it is Wait's to tell, and
// whoever asks both shall hear it as what it is, an end, and not as a start that takes too long.
const waitFirst = 200 * time.Millisecond

// endedTooEarly says that the main process ended before it was ready, and what it said at last.
func (p *process) endedTooEarly(ctx context.Context) error {
	select {
	case <-time.After(waitFirst):
	case <-ctx.Done():
	}
	if p.failed != nil {
		return p.failed
	}
	what := fmt.Sprintf("%v after %v", p.exit, roughly(time.Since(p.began)))
	return errors.New(withLastLines(what, p.exit.LastLines))
}

// notReady says what was missing when we stopped asking.
func (p *process) notReady(missing, cause error) error {
	what := fmt.Sprintf("not ready after %v: %s", roughly(time.Since(p.began)), p.problem(missing))
	return fmt.Errorf("%s: %w", withLastLines(what, p.lastLines()), cause)
}

// wrongForGood adds what the worker has to say: it may have seen why itself.
func (p *process) wrongForGood(err error) error {
	if lines := p.lastLines(); len(lines) > 0 {
		return fmt.Errorf("%w: %s", err, strings.Join(lines, " | "))
	}
	return err
}

// problem is what the last probe found. Who owns the socket is said with the address already.
func (p *process) problem(err error) string {
	if at := p.at.String(); !strings.Contains(err.Error(), at) {
		return at + ": " + err.Error()
	}
	return err.Error()
}

func withLastLines(what string, lines []string) string {
	if len(lines) == 0 {
		return what + ", and printed nothing"
	}
	return what + ": " + strings.Join(lines, " | ")
}

// roughly cuts a time to what a person wants to know of it.
func roughly(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
