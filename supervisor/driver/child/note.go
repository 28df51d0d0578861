package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"autoglm-sidecar/supervisor"
)

// note is what the next runner must know of a life beyond its number and PID: that it is this very process, and where
// it listens. A worker can wipe its environment (setproctitle), but not this file. It lies in the runtime directory and
// is written when a life begins and when it is ready.
type note struct {
	Life     supervisor.Life     `json:"life"`
	PID      int                 `json:"pid"`
	Start    uint64              `json:"start"` // in clock ticks since boot
	Boot     string              `json:"boot"`  // of which boot
	Upstream supervisor.Upstream `json:"upstream"`
	// For a sidecar that comes after keeper and runner were killed together (orphan.go).
	Command string        `json:"command"` // digest of what was executed, and where
	Output  uint64        `json:"output"`  // inode of the pipe that it prints to
	Ready   time.Duration `json:"ready"`   // how long that took; 0: it was never seen to be
}

// write replaces the note as a whole. It need not outlive the machine, so nothing is synced.
func (n note) write(path string) error {
	n.Boot = bootID()
	text, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("note the life: %w", err)
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("note the life: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("note the life: %w", err)
	}
	return nil
}

// readNote returns the last note of this boot; the zero note: there is none.
func readNote(path string) (note, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return note{}, nil
	}
	if err != nil {
		return note{}, fmt.Errorf("read the note of the life: %w", err)
	}
	var n note
	if json.Unmarshal(text, &n) != nil || n.Boot != bootID() {
		return note{}, nil // torn when the machine went down, or from before that
	}
	return n, nil
}

// removeNote removes the note of a life that is over, unless it is of another life by now.
func removeNote(path string, life supervisor.Life) error {
	n, err := readNote(path)
	if err != nil || n.Life != life {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the note of the life: %w", err)
	}
	return nil
}

// isAlive reports whether the very process that was noted is.
func (n note) isAlive() bool {
	stat, alive := statOf(n.PID)
	return alive && n.Start != 0 && stat.Starttime == n.Start
}

// bootID tells one boot of the machine from the next (random(4)).
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
