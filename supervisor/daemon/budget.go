package daemon

import (
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// mostReplay is the budget of all copies of requests where nobody said one: enough for 32 of the largest, and little
// beside what a worker needs.
const mostReplay = 512 << 20

// replayBudget is how many bytes the copies of requests may have together: as many as were asked for, else the smaller
// of mostReplay and a quarter of what our cgroup may have, since the arena counts as our memory.
func replayBudget(asked int64) int64 {
	if asked > 0 {
		return asked
	}
	return min(mostReplay, memoryLimit(os.DirFS("/"))/4)
}

// memoryLimit is the least memory.max of our cgroup (v2) and those above it, in bytes; the largest number where there
// is none, or none can be read.
func memoryLimit(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	ours, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(ours)) {
		in, found := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !found {
			continue
		}
		for at := path.Join("sys/fs/cgroup", path.Clean("/"+in)); at != "sys/fs"; at = path.Dir(at) {
			text, err := fs.ReadFile(root, path.Join(at, "memory.max"))
			if err != nil {
				continue // the root has none
			}
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // else it says max
				limit = min(limit, n)
			}
		}
	}
	return limit
}
