package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"autoglm-sidecar/supervisor/config"
	"autoglm-sidecar/supervisor/driver/child"
)

// protectedScore is our own oom_score_adj, and the keeper's. Where memory runs out the kernel kills the process with the
// highest score, in thousandths of the machine's memory: with half of it taken off, that is the worker, or whoever else
// has grown, as long as we have less than half the memory more than it. Not -1000, which is never killed: if it were us who
// grow, the machine would go down instead.
const protectedScore = -500

// OOMScore returns the oom_score_adj of this process; 0, which is usual, where it can't be read.
func OOMScore() int {
	score, _ := child.OOMScore()
	return score
}

// protect lowers the score of runner and keeper, and returns the one that the worker is to have: what we were started
// with. nil: it has ours, since we were allowed nothing.
func (d *daemon) protect() *int {
	started := d.OOMScore
	score := min(started, protectedScore)
	lowered := child.SetOOMScore(os.Getpid(), score)
	err := lowered
	if err == nil && d.keeper.Gen > 0 {
		err = child.SetOOMScore(d.keeper.Keeper, score)
	}
	if err != nil && d.keeper.Gen <= 1 { // said once
		d.Log.Info("not protected where memory runs out: lowering oom_score_adj takes CAP_SYS_RESOURCE", "error", err)
	}
	if lowered != nil {
		return nil
	}
	return &started
}

// credential is whom the worker runs as; nil: as we do.
func (d *daemon) credential() *syscall.Credential {
	if d.User.Name == "" {
		return nil
	}
	c := &syscall.Credential{Uid: uint32(d.User.UID), Gid: uint32(d.User.GID)}
	for _, group := range d.User.Groups {
		c.Groups = append(c.Groups, uint32(group))
	}
	return c
}

// ownSocketDir makes the directory of the socket of a worker that runs as another user, who may write nowhere else
// beside our control socket.
func (d *daemon) ownSocketDir() error {
	if d.User.Name == "" || d.Upstream != (config.Address{Network: "unix", Addr: d.WorkerSocket()}) {
		return nil
	}
	dir := filepath.Dir(d.WorkerSocket())
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(dir)
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is in the way: it is no directory", dir)
	}
	if err == nil {
		err = os.Chown(dir, d.User.UID, d.User.GID)
	}
	if err == nil {
		err = os.Chmod(dir, 0o700)
	}
	if err == nil {
		err = d.reachable(filepath.Dir(dir))
	}
	if err != nil {
		return fmt.Errorf("make a directory for the worker's socket: %w", err)
	}
	return nil
}

// reachable reports whether the worker's user may go through a directory and all above it.
func (d *daemon) reachable(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		mode, need := info.Mode().Perm(), fs.FileMode(0o001)
		switch {
		case !ok:
		case int(owner.Uid) == d.User.UID:
			need = 0o100
		case int(owner.Gid) == d.User.GID || slices.Contains(d.User.Groups, int(owner.Gid)):
			need = 0o010
		}
		if mode&need == 0 && d.User.UID != 0 {
			return fmt.Errorf("%s may not go through %s (mode %04o); chmod o+x %s, or let the worker listen on {port}", d.User.Name, dir, mode, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}
