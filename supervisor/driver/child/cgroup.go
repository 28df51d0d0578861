package child

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

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

// cgroupsOf is what the names of all cgroups of a sidecar begin with: another sidecar of the same name, which may be in
// our cgroup, has its note elsewhere.
func cgroupsOf(m mark) string {
	place := fnv.New32a()
	_, _ = io.WriteString(place, m.note) // never fails
	return fmt.Sprintf("autoglm-sidecar.%s-%08x.", m.name, place.Sum32())
}

func cgroupName(m mark) string { return fmt.Sprintf("%s%d", cgroupsOf(m), m.life) }

// newCgroup makes the cgroup of a life. An error means that there is none, for the reason given.
func newCgroup(m mark) (*cgroup, error) {
	own, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	removeLeft(own, m)
	g := &cgroup{dir: filepath.Join(own, cgroupName(m))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(g.dir, "cgroup.kill")); err != nil {
		g.remove()
		return nil, fmt.Errorf("this kernel can kill no cgroup (needs Linux 5.14): %w", err)
	}
	return g, nil
}

// removeLeft removes the cgroups that earlier lives left in ours, as far as they are empty.
func removeLeft(own string, m mark) {
	entries, err := os.ReadDir(own)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), cgroupsOf(m)) {
			(&cgroup{filepath.Join(own, e.Name())}).remove()
		}
	}
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

// add moves a process in. What it starts from then on is in, too, and what it has started already is moved after it: the
// kernel would clone into a cgroup right away, but not together with CLONE_PARENT.
func (g *cgroup) add(pid int) error {
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return err
	}
	for _, child := range children(pid) {
		_ = g.add(child) // it may have gone
	}
	return nil
}

// children are what the process has started and what still lives (proc_pid_children(5)).
func children(pid int) []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var pids []int
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
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

// remove removes it and those that the worker made below, deepest first, as far as they are empty.
func (g *cgroup) remove() (gone bool) {
	if g == nil {
		return true
	}
	var dirs []string
	_ = filepath.WalkDir(g.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	gone = true
	for i := len(dirs) - 1; i >= 0; i-- {
		gone = os.Remove(dirs[i]) == nil && gone
	}
	return gone
}

// removeSoon gives what has just died a moment to leave. What stays then is removed before another life begins.
func (g *cgroup) removeSoon() {
	for range 10 {
		if g.remove() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
