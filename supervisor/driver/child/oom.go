package child

import (
	"os"
	"strconv"
	"strings"
)

// SetOOMScore sets the oom_score_adj of a process: -1000 to 1000, above which the kernel kills sooner where memory runs
// out. To lower one takes CAP_SYS_RESOURCE.
func SetOOMScore(pid, score int) error {
	return os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(score)), 0)
}

// OOMScore returns our own oom_score_adj.
func OOMScore() (int, error) {
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// exposed gives us the worker's oom_score_adj until the returned func is called: a process that is cloned meanwhile has it
// from its first moment, with all that it starts. To set it afterwards would be too late for what was started by then.
// The keeper stays as it is, so a kill that comes right now costs no stream.
func (d *Driver) exposed() (over func()) {
	if d.opts.OOMScore == nil {
		return func() {}
	}
	ours, err := OOMScore()
	if err == nil {
		err = SetOOMScore(os.Getpid(), *d.opts.OOMScore)
	}
	if err != nil {
		d.opts.Log.Debug("the worker has our own oom_score_adj", "error", err)
		return func() {}
	}
	return func() {
		if err := SetOOMScore(os.Getpid(), ours); err != nil {
			d.opts.Log.Debug("the oom_score_adj of this runner stays the worker's", "error", err)
		}
	}
}
