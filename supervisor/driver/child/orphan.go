package child

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"autoglm-sidecar/supervisor"

	"golang.org/x/sys/unix"
)

// Keeper and runner were killed together: their streams are gone and so is their memory, but the worker has lost nothing
// but its parent, and its model is loaded. The next sidecar of this name and place goes on with it, if it is what that
// sidecar would start. If not, sweep ends it before another one is started.

// Orphan says what was left, for a sidecar that has no record of its own.
func (d *Driver) Orphan() (supervisor.Orphan, error) {
	noted, err := readNote(d.opts.Note)
	if err != nil || noted.Life == 0 {
		return supervisor.Orphan{}, err
	}
	orphan := supervisor.Orphan{Life: noted.Life}
	if !noted.isAlive() {
		return orphan, nil
	}
	if why := d.unfit(noted); why != "" {
		d.opts.Log.Warn("the worker of an earlier sidecar is not taken over", "life", noted.Life, "pid", noted.PID, "reason", why)
		return orphan, nil
	}
	d.opts.Log.Warn("the worker of an earlier sidecar goes on", "life", noted.Life, "pid", noted.PID)
	orphan.PID, orphan.Took = noted.PID, noted.Ready
	if orphan.Took == 0 {
		orphan.Took = age(noted.Start)
	}
	return orphan, nil
}

// unfit says why the worker that was noted, and is alive, can't stand for the one that we would start; empty: it can.
func (d *Driver) unfit(noted note) string {
	at := d.opts.Upstream
	if at.Network != noted.Upstream.Network || at.Address != "" && at.Address != noted.Upstream.Address {
		return "it listens at " + noted.Upstream.String()
	}
	if d.digest(d.opts.Command(noted.Upstream)) != noted.Command {
		return "its command, its directory, its user or what settings say of its environment is another"
	}
	id := identity{mark: d.mark(noted.Life), main: noted.PID, start: noted.Start}
	if _, err := id.printsTo(noted.Output); err != nil {
		return err.Error()
	}
	return ""
}

// digest is a worker's command, and what else of the settings makes it this worker, as far as it has to be known again. It
// may hold secrets, so it is noted nowhere as it is. A relative path in it means something else in another directory.
func (d *Driver) digest(command []string) string {
	dir, _ := os.Getwd() // gone: so is what a path would be relative to
	user := ""
	if u := d.opts.User; u != nil {
		user = fmt.Sprint(u.Uid, u.Gid, u.Groups)
	}
	settled := slices.Sorted(slices.Values(d.opts.Settled))
	h := sha256.New()
	for _, words := range [][]string{{dir, user}, settled, command} {
		fmt.Fprintf(h, "%d ", len(words))
		for _, word := range words {
			fmt.Fprintf(h, "%d %s", len(word), word)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ticksASecond is USER_HZ, in which /proc counts on each machine that Go runs on.
const ticksASecond = 100

// age is how long ago a process began that began at that many ticks since boot.
func age(start uint64) time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return max(0, time.Duration(now.Nano())-time.Duration(start)*(time.Second/ticksASecond))
}

// noteReady adds to the note how long it took.
func (p *process) noteReady() {
	path := p.d.opts.Note
	noted, err := readNote(path)
	if err == nil && noted.Life == p.id.mark.life && noted.PID == p.id.main && noted.Ready == 0 {
		noted.Ready = age(p.id.start)
		err = noted.write(path)
	}
	if err != nil {
		p.d.opts.Log.Warn("a sidecar that finds this life won't know how long it took to start", "life", p.id.mark.life, "error", err)
	}
}

// hear reads from the pipe that a life prints to, if that isn't ours: it was an earlier sidecar's.
func (d *Driver) hear(id identity, pipe uint64) error {
	if pipe == 0 || pipe == d.output.inode() {
		return nil
	}
	path, err := id.printsTo(pipe)
	if path == "" || err != nil {
		return err
	}
	return d.output.take(path, pipe)
}

// printsTo is where a process of the life has the pipe open; empty: none has. An error says that it may not be opened:
// whoever prints to it would wait for ever once it is full.
func (id identity) printsTo(pipe uint64) (path string, err error) {
	living, err := id.living()
	if err != nil {
		return "", err
	}
	var hidden error
	for _, m := range living {
		dir := fmt.Sprintf("/proc/%d/fd", m.pid)
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			hidden = fmt.Errorf("look where %v prints to: %w", m, err)
		}
		for _, entry := range entries {
			path := filepath.Join(dir, entry.Name())
			var stat unix.Stat_t
			if unix.Stat(path, &stat) == nil && isPipe(stat, pipe) {
				return path, nil
			}
		}
	}
	return "", hidden
}
