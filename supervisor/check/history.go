package check

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Past is a restart that has ended, as `history --json` has it.
type Past struct {
	ID      int64  `json:"id"`
	Reason  string `json:"reason"`
	Why     string `json:"why"`
	Outcome string `json:"outcome"`
	Error   string `json:"error"`
	ToLife  int64  `json:"to_life"`
	Cut     int64  `json:"cut"`
	Refused int64  `json:"refused"`
}

// History is what the ledger has, newest first.
func (s *Sidecar) History(ctx context.Context) ([]Past, error) {
	out, err := s.Command(ctx, "history", "--json")
	if err != nil {
		return nil, err
	}
	var all struct {
		Restarts []Past `json:"restarts"`
	}
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, fmt.Errorf("read history --json: %w", err)
	}
	return all.Restarts, nil
}

// AwaitRestart waits until one for that reason is recorded.
func (s *Sidecar) AwaitRestart(ctx context.Context, reason string) (Past, error) {
	var found Past
	err := poll(ctx, 200*time.Millisecond, func() (bool, error) {
		all, err := s.History(ctx)
		if err != nil {
			return false, err
		}
		for _, p := range all {
			if p.Reason == reason {
				found = p
				return true, nil
			}
		}
		return false, s.gone()
	})
	if err != nil {
		return Past{}, fmt.Errorf("wait for a restart with the reason %s: %w; the last lines of its output:\n%s", reason, err, s.LastLines())
	}
	return found, nil
}
