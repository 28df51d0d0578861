package supervisor

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// What went wrong is one warning, in words of its own.
func TestEachTroubleIsOneWarning(t *testing.T) {
	for _, c := range []struct {
		name    string
		keepErr error
		does    behaviour
		want    string
	}{
		{
			name: "ledger", keepErr: errors.New("record restart 1: no space left on device"),
			want: `level=WARN msg="restart not recorded" life=2 error="record restart 1: no space left on device" restart=1`,
		},
		{
			name: "deaf", does: behaviour{deaf: true},
			want: `level=WARN msg="the worker ignored SIGTERM for 30s: killing it" life=1 restart=1 reason=operator`,
		},
		{
			name: "orphan", does: behaviour{orphan: time.Hour, lacks: "yes (PID 123, state R)"},
			want: `level=WARN msg="what the worker had started outlived it by 15s: killing it" life=1 error="still alive: yes (PID 123, state R)" restart=1 reason=operator`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(t *testing.T, h *host) {
				var out bytes.Buffer
				log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey {
						return slog.Attr{}
					}
					return a
				}}))
				h.keepErr = c.keepErr
				h.behave = func(life Life) behaviour {
					if life > 1 {
						return behaviour{}
					}
					return c.does
				}
				s := h.run(func(o *Options) { o.Watch = append(o.Watch, LogChanges(log)) })
				h.pass(time.Second)
				h.restarted(s, operator)
				h.pass(0) // until the ledger has answered
				h.end(s)
				var warned []string
				for line := range strings.Lines(out.String()) {
					if strings.Contains(line, "level=WARN") {
						warned = append(warned, strings.TrimSpace(line))
					}
				}
				if len(warned) != 1 || warned[0] != c.want {
					t.Errorf("warned:\n%s\nwant once:\n%s", strings.Join(warned, "\n"), c.want)
				}
			})
		})
	}
}
