package child

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// cgroup is a control group (v2) of one life below our own, so that all of it can be killed at once and nothing of it
// gets away. Where we may not make one, a life has none, and is recognised by the other signs of identity. A nil
// *cgroup is a life without one: its methods do nothing.
type cgroup struct{ dir string }

// ownCgroup returns the directory of the cgroup that we are in ourselves.
func ownCgroup() (string, error) {
	self, err := procfs.Self()
	if err != nil {
		return "", err
	}
	path, err := cgroupPath(self)
	if err != nil {
		return "", err
	}
	mounts, err := procfs.GetMounts()
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		if m.FSType != "cgroup2" {
			continue
		}
		// The mount shows the hierarchy from its root on; in a container that is often our own cgroup.
		if below, ok := strings.CutPrefix(path, strings.TrimSuffix(m.Root, "/")); ok {
			return filepath.Join(m.MountPoint, below), nil
		}
	}
	return "", errors.New("no cgroup2 file system is mounted")
}

// cgroupPath is the path of the process's cgroup in the v2 hierarchy, whose number is 0.
func cgroupPath(p procfs.Proc) (string, error) {
	groups, err := p.Cgroups()
	if err != nil {
		return "", err
	}
	for _, g := range groups {
		if g.HierarchyID == 0 && !strings.HasPrefix(g.Path, "/..") {
			return g.Path, nil
		}
	}
	return "", errors.New("not in a cgroup that we can see")
}

func cgroupName(m mark) string { return fmt.Sprintf("autoglm-sidecar.%s.%d", m.name, m.life) }

// newCgroup makes the cgroup of a life. An error means that there is none, for the reason given.
func newCgroup(m mark) (*cgroup, error) {
	own, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	g := &cgroup{dir: filepath.Join(own, cgroupName(m))}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(g.dir, "cgroup.kill")); err != nil {
		g.remove()
		return nil, fmt.Errorf("this kernel can kill no cgroup (needs Linux 5.14): %w", err)
	}
	if len(g.pids()) > 0 { // another sidecar's, of the same name: not ours to kill
		return nil, fmt.Errorf("%s is in use", g.dir)
	}
	return g, nil
}

// findCgroup returns the cgroup that an earlier runner made for the life, if the process is in it.
func findCgroup(m mark, pid int) *cgroup {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return nil
	}
	path, err := cgroupPath(p)
	if err != nil || filepath.Base(path) != cgroupName(m) {
		return nil
	}
	own, err := ownCgroup()
	if err != nil {
		return nil
	}
	g := &cgroup{dir: filepath.Join(own, cgroupName(m))}
	if !g.pids()[pid] {
		return nil
	}
	return g
}

// add moves a process in; what it starts from then on is in too.
func (g *cgroup) add(pid int) error {
	return os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// kill kills all that is in, and below.
func (g *cgroup) kill() {
	if g == nil {
		return
	}
	// What it did not reach, the other signs of identity find.
	_ = os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0)
}

// pids are all that are in, and below.
func (g *cgroup) pids() map[int]bool {
	if g == nil {
		return nil
	}
	pids := make(map[int]bool)
	_ = filepath.WalkDir(g.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil // gone meanwhile, or a control file
		}
		listed, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for line := range strings.Lines(string(listed)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
				pids[pid] = true
			}
		}
		return nil
	})
	return pids
}

// remove removes it and those that the worker made below, deepest first, once all are empty.
func (g *cgroup) remove() {
	if g == nil {
		return
	}
	var dirs []string
	_ = filepath.WalkDir(g.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		_ = os.Remove(dirs[i]) // a zombie may keep it for a moment; it is empty and costs nothing
	}
}
