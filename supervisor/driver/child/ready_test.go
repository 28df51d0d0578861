package child

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/sockets/tcpdiag"
	"autoglm-sidecar/supervisor"
)

// steps collects what a worker showed on its way.
type steps struct {
	mu   sync.Mutex
	seen []string
}

func (s *steps) add(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, what)
}

func (s *steps) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func httpProbe(o *Options) {
	o.Probe = func(network, address string) probe.Probe { return probe.HTTP(network, address, "/health") }
	o.ProbeEcho = "GET /health"
}

func TestReadyWhenTheProbePasses(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, kind := range []string{"tcp", "http"} {
			t.Run(kind+" over "+network, func(t *testing.T) {
				r := newRig(t, func(o *Options) {
					o.Command = worker("say:loading", "listen:{}", "stay")
					if network == "unix" {
						o.Upstream = supervisor.Upstream{Network: network, Address: filepath.Join(t.TempDir(), "w.sock")}
					}
					if kind == "http" {
						httpProbe(o)
					}
				})
				p := r.begin(1)
				if err := p.Ready(soon(t), func(string) {}); err != nil {
					t.Fatal(err)
				}
				var d net.Dialer
				conn, err := d.DialContext(t.Context(), p.Upstream().Network, p.Upstream().Address)
				if err != nil {
					t.Fatalf("it was said to be ready: %v", err)
				}
				conn.Close()
			})
		}
	}
}

// A probe that gets further is progress, and so is each line, but not the lines that our own probes make.
func TestProgressOnTheWayToReady(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Command = worker("say:loading weights", "sick:{} 300", "say:GET /health 503", "stay")
		httpProbe(o)
	})
	p := r.begin(1)
	var got steps
	if err := p.Ready(soon(t), got.add); err != nil {
		t.Fatal(err)
	}
	if want := "probe: answered 503"; !slices.Contains(got.all(), want) {
		t.Errorf("progress %q, want %q in it", got.all(), want)
	}
	if slices.ContainsFunc(got.all(), func(s string) bool { return strings.Contains(s, "GET /health") }) {
		t.Errorf("progress %q: the echo of our own question is no progress", got.all())
	}
}

func TestALineIsProgress(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Command = worker("tick") })
	p := r.begin(1)
	ctx, cancel := context.WithCancel(soon(t))
	var got steps
	err := p.Ready(ctx, func(what string) {
		got.add(what)
		cancel()
	})
	if seen := got.all(); len(seen) == 0 || !strings.HasPrefix(seen[0], "tick ") {
		t.Errorf("progress %q, want a line that was printed", seen)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ready, given up: got %v, want %v", err, context.Canceled)
	}
}

func TestNotReadyTellsWhatWasMissing(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Command = worker("say:loading", "say:still loading", "stay") })
	p := r.begin(1)
	eventually(t, "its output", func() bool { return len(p.lastLines()) == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := p.Ready(ctx, func(string) {})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want it to end with the context", err)
	}
	for _, want := range []string{"not ready after ", p.Upstream().Address + ": connection refused", ": loading | still loading"} {
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}

// What is missing is told before anybody gives up, and no more once there is nothing.
func TestPendingSaysWhatTheLastProbeFound(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Command = worker("say:loading", "sick:{} 300", "stay")
		httpProbe(o)
	})
	p := r.begin(1)
	if what, _ := p.Pending(); what != "" {
		t.Errorf("before anybody asked it waits for %q", what)
	}
	var readyErr error
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		readyErr = p.Ready(soon(t), func(string) {})
	}()
	eventually(t, "the probe's answer", func() bool {
		what, lines := p.Pending()
		return what == p.Upstream().Address+": answered 503" && slices.Equal(lines, []string{"loading"})
	})
	<-asked
	if what, _ := p.Pending(); what != "" || readyErr != nil {
		t.Errorf("once ready (%v) it waits for %q", readyErr, what)
	}
}

func TestAWorkerThatEndsAtOnceIsNotWaitedFor(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Command = worker("say:CUDA out of memory", "exit:3") })
	p := r.begin(1)
	err := p.Ready(soon(t), func(string) {})
	if err == nil || !strings.HasPrefix(err.Error(), "exited 3 after ") || !strings.HasSuffix(err.Error(), ": CUDA out of memory") {
		t.Errorf("got the error %v, want one that says exited 3 and its last line", err)
	}
}

// stranger starts a process that is nobody's worker and does these deeds.
func stranger(t *testing.T, at supervisor.Upstream, deeds ...string) (name string) {
	t.Helper()
	said := filepath.Join(t.TempDir(), "stranger")
	command := worker(append(deeds, "file:"+said, "stay")...)(at)
	c := exec.Command(command[0], command[1:]...)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return tcpdiag.Describe(pidFrom(t, said))
}

// The probe passes in each case: somebody answers. Only who it is tells that it is not, or not only, the worker.
func TestAStrangersSocketIsNotTheWorkers(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network+" taken", func(t *testing.T) {
			at := supervisor.Upstream{Network: network, Address: must(freePort())}
			r := newRig(t, func(o *Options) {
				o.Upstream = at
				o.Command = worker("say:address in use", "stay")
			})
			if network == "unix" {
				at.Address = filepath.Join(t.TempDir(), "w.sock")
				r.opts.Upstream = at
			}
			p := r.begin(1)
			eventually(t, "its output", func() bool { return len(p.lastLines()) == 1 })
			name := stranger(t, at, "listen:{}") // after the start, which would see it
			err := p.Ready(soon(t), func(string) {})
			if err == nil || !strings.Contains(err.Error(), "is served by "+name+", which is not of this worker: address in use") {
				t.Errorf("got %v, want an error that names the stranger %s", err, name)
			}
		})
	}
	t.Run("tcp shared", func(t *testing.T) {
		at := supervisor.Upstream{Network: "tcp", Address: must(freePort())}
		said := filepath.Join(t.TempDir(), "worker")
		r := newRig(t, func(o *Options) {
			o.Upstream = at
			o.Command = worker("listen:{}", "file:"+said, "stay")
		})
		p := r.begin(1)
		pidFrom(t, said)
		name := stranger(t, at, "listen:{}") // after the start, which would see it
		err := p.Ready(soon(t), func(string) {})
		if err == nil || !strings.Contains(err.Error(), "is shared with "+name) {
			t.Errorf("got %v, want an error that names the stranger %s", err, name)
		}
	})
}

// A worker would only say that the address is in use, and end; nothing is started for that.
func TestAStrangerAtTheUpstreamIsNamedBeforeTheStart(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost"} {
		at := supervisor.Upstream{Network: "tcp", Address: must(freePort())}
		name := stranger(t, at, "listen:{}")
		_, port, _ := net.SplitHostPort(at.Address)
		at.Address = net.JoinHostPort(host, port)
		r := newRig(t, func(o *Options) {
			o.Upstream = at
			o.Command = worker("say:never", "exit:1")
		})
		if _, err := r.Start(t.Context(), 1); err == nil || err.Error() != at.String()+" is served by "+name+", which is not of this worker" {
			t.Errorf("got %v, want an error that names the stranger %s", err, name)
		}
	}
}

// Engines serve from processes far from the main one. All of the life's processes may own the socket.
func TestASocketOfADescendantIsTheWorkers(t *testing.T) {
	for _, kind := range []string{"child", "runaway", "nameless"} {
		t.Run(kind, func(t *testing.T) {
			r := withoutCgroup(newRig(t, func(o *Options) { o.Command = worker(kind+":listen:{},stay", "stay") }))
			p := r.begin(1)
			if err := p.Ready(soon(t), func(string) {}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnUpstreamMayBeAName(t *testing.T) {
	_, port, _ := net.SplitHostPort(must(freePort()))
	r := newRig(t, func(o *Options) {
		o.Upstream = supervisor.Upstream{Network: "tcp", Address: "localhost:" + port}
		o.Command = worker("listen:{}", "stay")
	})
	p := r.begin(1)
	if err := p.Ready(soon(t), func(string) {}); err != nil {
		t.Error(err)
	}
}

func TestWorkersAreAskedLessOftenTheLongerTheyTake(t *testing.T) {
	for _, tt := range []struct {
		soFar time.Duration
		reach probe.Reach
		want  time.Duration
	}{
		{0, probe.Nowhere, 10 * time.Millisecond},
		{time.Hour, probe.Nowhere, 10 * time.Millisecond},
		{0, probe.Answered, 10 * time.Millisecond},
		{3 * time.Second, probe.Answered, 30 * time.Millisecond},
		{time.Hour, probe.Connected, 500 * time.Millisecond},
	} {
		if got := pause(tt.soFar, tt.reach); got != tt.want {
			t.Errorf("after %v, at reach %d: asked again after %v, want %v", tt.soFar, tt.reach, got, tt.want)
		}
	}
}
