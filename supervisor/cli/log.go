package cli

import (
	"io"
	"log/slog"
)

// newLog returns the logger of `run`: text for a person at a terminal, JSON for whatever collects it otherwise.
func newLog(w io.Writer) *slog.Logger {
	if !isTerminal(w) {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
		}
		return a
	}}))
}
