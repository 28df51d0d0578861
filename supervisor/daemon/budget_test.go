package daemon

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestTheMemoryLimitIsTheLeastOfOurCgroups(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no cgroup at all": {nil, math.MaxInt64},
		"version 1":        {map[string]string{"proc/self/cgroup": "12:memory:/a\n"}, math.MaxInt64},
		"no limit":         {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, math.MaxInt64},
		"our own":          {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n"}, 1000},
		"one above is less": {map[string]string{
			"proc/self/cgroup": "3:cpu:/x\n0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "700\n",
		}, 700},
		"ours is less":                {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "5\n", "sys/fs/cgroup/memory.max": "9\n"}, 5},
		"a container's own namespace": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4096\n"}, 4096},
		"outside of what we may see":  {map[string]string{"proc/self/cgroup": "0::/../../other\n", "sys/fs/cgroup/memory.max": "8\n"}, 8},
		"nonsense":                    {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "much\n"}, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for file, text := range test.files {
				root[file] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := memoryLimit(root); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

func TestTheBudgetOfCopiesIsWhatWasAskedFor(t *testing.T) {
	if n := replayBudget(1 << 20); n != 1<<20 {
		t.Errorf("%d, want what was asked for", n)
	}
	if n := replayBudget(0); n <= 0 || n > mostReplay {
		t.Errorf("%d, want at most %d and more than nothing", n, mostReplay)
	}
}
