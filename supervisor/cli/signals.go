package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// sameSignal is how soon after the first a further signal is still the first one: systemd's KillMode=control-group
// sends SIGTERM to the keeper, which passes it on, and to the runner itself.
const sameSignal = time.Second

// wishes are what signals ask of a sidecar that runs. Each channel is closed once.
type wishes struct {
	leave <-chan struct{} // go, and let open streams end within their bound
	hurry <-chan struct{} // go now
}

// listen turns SIGTERM and SIGINT into wishes until ctx ends, and logs what follows; drain is how long open streams have. SIGHUP is the end of the terminal for a sidecar that
// was started from one. For any other it asks to read the settings again, and there is nothing to read: it goes on.
func listen(ctx context.Context, drain time.Duration, log *slog.Logger) wishes {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	// A log or a worker's line that nobody reads any more must not be the end of us, which it is for a Go program that
	// doesn't ask for SIGPIPE. Ignoring it would go on to the worker.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	context.AfterFunc(ctx, func() {
		signal.Stop(signals)
		signal.Stop(broken)
	})
	return wish(ctx, signals, isTerminal(os.Stdin), drain, log)
}

// wish is listen without the operating system.
func wish(ctx context.Context, signals <-chan os.Signal, attended bool, drain time.Duration, log *slog.Logger) wishes {
	leave, hurry := make(chan struct{}), make(chan struct{})
	go func() {
		var first time.Time // zero: not asked to leave yet
		for {
			select {
			case s := <-signals:
				switch {
				case s == syscall.SIGHUP && !attended:
					log.Info("SIGHUP: settings are read at the start only; going on with those of then. To change them: autoglm-sidecar config check FILE, then stop the sidecar and start it again")
				case first.IsZero():
					first = time.Now()
					log.Info(fmt.Sprintf("leaving: new streams are refused, open ones have at most %s; again after a second to hurry", span(drain)),
						"signal", s)
					close(leave)
				case time.Since(first) >= sameSignal:
					log.Warn("hurrying: no stream is waited for any more, any that is still open is cut", "signal", s)
					close(hurry)
					return
				default:
					log.Info("within a second of the first signal, so it counts as the first; again after that second to hurry", "signal", s)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return wishes{leave: leave, hurry: hurry}
}
