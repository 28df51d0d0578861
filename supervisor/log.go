package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// LogChanges returns a watcher that writes each change as one line.
func LogChanges(log *slog.Logger) func(Change) {
	return func(c Change) {
		attrs := []slog.Attr{slog.Int64("life", int64(c.Life))}
		level := slog.LevelInfo
		if c.Why != "" {
			level = slog.LevelWarn
			attrs = append(attrs, slog.String("error", c.Why))
		}
		if c.Restart.ID != 0 && !c.Unrecorded {
			attrs = append(attrs, slog.Int64("restart", c.Restart.ID), slog.String("reason", c.Restart.Reason.String()))
		}
		message := "trouble with the worker"
		switch {
		case c.Withheld != NotWithheld:
			level, message = slog.LevelWarn, "would restart the worker"
			attrs = append(attrs, slog.String("reason", c.Restart.Reason.String()), slog.String("by", c.Restart.By),
				slog.String("seen", c.Restart.Why), slog.String("withheld", c.Withheld.String()))
		case c.Thawed && c.From == c.To:
			message = "the freeze is over"
		case c.Unrecorded:
			message = "restart not recorded"
			attrs = append(attrs, slog.Int64("restart", c.Restart.ID))
		case c.From == Terminating && c.To == Killing:
			level, message = slog.LevelWarn, fmt.Sprintf("the worker ignored SIGTERM for %v: killing it", c.Spent.Round(time.Millisecond))
		case c.From == Reclaiming && c.To == Purging:
			level, message = slog.LevelWarn, fmt.Sprintf("what the worker had started outlived it by %v: killing it", c.Spent.Round(time.Millisecond))
		case c.Ended:
			message = "restart ended"
			attrs = append(attrs, account(c.Restart)...)
		case c.From != c.To:
			message = "worker"
			attrs = append(attrs, slog.String("from", c.From.String()), slog.String("to", c.To.String()))
		}
		log.LogAttrs(context.Background(), level, message, attrs...)
	}
}

// account is what a restart did, in the words of the ledger.
func account(r Restart) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("result", r.Result.String()),
		slog.Int64("from_life", int64(r.From)),
		slog.Int64("to_life", int64(r.To)),
		slog.Duration("took", r.Took),
		slog.Int("open", r.Open),
		slog.Int64("cut", r.Cut),
		slog.Int64("held", r.Held),
		slog.Int64("refused", r.Refused),
		slog.Duration("longest_hold", r.LongestHold),
		slog.Duration("longest_gap", r.LongestGap),
	}
	if r.By != "" {
		attrs = append(attrs, slog.String("by", r.By))
	}
	if r.Why != "" {
		attrs = append(attrs, slog.String("why", r.Why))
	}
	if r.InTheWay != 0 {
		attrs = append(attrs, slog.Int("in_the_way", r.InTheWay))
	}
	if r.Detail != "" {
		attrs = append(attrs, slog.String("detail", r.Detail))
	}
	return attrs
}
