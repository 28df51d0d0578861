package config

import (
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Run is one sidecar as it shall run: Settings that were found good, with everything implied filled in.
type Run struct {
	Name     string
	Mode     Mode
	Fronts   []Front // at least one
	Upstream Address // zero: each life gets a free port, where Command has {port}
	// Control is the absolute path of the control socket. Worker sockets ({socket}) lie in the same directory.
	Control string
	HTTP    string // HOST:PORT, or empty: off
	Drain   time.Duration
	// Hold is how long a new stream waits at most while no life serves; 0: it is refused at once.
	Hold          time.Duration
	StartDeadline time.Duration
	StopGrace     time.Duration
	Heartbeat     time.Duration // 0: none
	Probe         Probe
	State         string // absolute path of the ledger's directory
	Ready         Ready
	Queue         Queue
	Replay        Replay
	Limits        Limits
	Pulse         Pulse
	// Command is empty where somebody else runs the worker. Where Upstream is zero Fill puts a life's port into it; else
	// it has no placeholders any more.
	Command []string
}

// RuntimeDir is the directory of the control socket and of the worker's sockets.
func (r Run) RuntimeDir() string { return filepath.Dir(r.Control) }

// WorkerSocket is the path that {socket} stands for in the command, unless --upstream names another.
func (r Run) WorkerSocket() string { return filepath.Join(r.RuntimeDir(), r.Name+".worker.sock") }

var namePattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// Resolve judges the settings as a whole for a process on host h. A wrong setting gives an error of type Problems
// that holds all of them; the Run is then of no use.
func (s Settings) Resolve(h Host) (Run, error) {
	var p Problems
	r := DefaultParts()
	r.Name = s.Name
	r.Drain, r.StartDeadline, r.StopGrace, r.Heartbeat = s.Drain, s.StartDeadline, s.StopGrace, s.Heartbeat
	r.Limits.Connections = s.MaxConnections
	r.Command = slices.Clone(s.Command)

	nameGood := CheckName(s.Name) == nil
	p.add("--name", s.Name, CheckName(s.Name))
	r.Fronts = s.judgeFronts(&p)
	if s.HTTP != HTTPOff && s.HTTP != "" {
		p.add("--http", s.HTTP, checkListen(s.HTTP))
		r.HTTP = s.HTTP
	}

	var err error
	r.Probe, err = ParseProbe(s.Probe)
	p.add("--probe", s.Probe, err)
	s.judgeTimes(&p, &r)
	if s.MaxConnections < 1 || s.MaxConnections > MostConnections {
		p.addf("--max-connections", "%d: must be between 1 and %d", s.MaxConnections, MostConnections)
	}

	if nameGood { // else each path would only repeat the name's fault
		r.Control, err = controlPath(s, h)
		p.add("--control", s.Control, err)
		r.State, err = stateDir(s, h)
		p.add("--state", s.State, err)
	}
	s.judgeWorker(&p, &r)
	s.judgeDoors(&p, &r)

	if len(p) > 0 {
		return Run{}, p
	}
	return r, nil
}

// CheckName judges the name of a sidecar: it becomes part of paths, environments and logs.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return errors.New("a name has 1 to 32 characters of a-z, 0-9 and -")
	}
	return nil
}

func (s Settings) judgeTimes(p *Problems, r *Run) {
	for _, t := range []struct {
		setting string
		d       time.Duration
	}{
		{"--drain", s.Drain},
		{"--start-deadline", s.StartDeadline},
		{"--stop-grace", s.StopGrace},
	} {
		if t.d <= 0 {
			p.addf(t.setting, "%v: must be longer than 0", t.d)
		}
	}
	if s.Heartbeat != 0 && s.Heartbeat < leastHeartbeat {
		p.addf("--heartbeat", "%v: must be 0 (none) or at least %v", s.Heartbeat, leastHeartbeat)
	}

	if s.Hold == HoldAuto {
		r.Hold = s.Drain + s.StartDeadline
		return
	}
	d, err := time.ParseDuration(s.Hold)
	if err != nil || d < 0 {
		p.addf("--hold", "%q: must be auto (drain + start deadline), 0 (refuse at once) or a time as in 90s", s.Hold)
	}
	r.Hold = d
}

// judgeWorker finds out where the worker will listen: an address that was given, or a placeholder in the command.
func (s Settings) judgeWorker(p *Problems, r *Run) {
	port, socket := Placeholders(s.Command)
	if s.Upstream != "" {
		var err error
		r.Upstream, err = ParseAddress(s.Upstream)
		switch {
		case err != nil:
			p.add("--upstream", s.Upstream, err)
		case port && r.Upstream.Network != "tcp":
			p.addf("COMMAND", "has {port}, but --upstream %s is a socket; write {socket}, or leave --upstream away", s.Upstream)
		case socket && r.Upstream.Network != "unix":
			p.addf("COMMAND", "has {socket}, but --upstream %s is a port; write {port}, or leave --upstream away", s.Upstream)
		default:
			r.Command = Fill(s.Command, r.Upstream)
		}
		return
	}

	switch {
	case len(s.Command) == 0:
		p.advise("--upstream", "there is no worker to relay to",
			s.Line(nil, "--upstream", "127.0.0.1:8001"),
			s.Line([]string{"vllm", "serve", "MODEL", "--uds", socketWord}))
	case port && socket:
		p.addf("COMMAND", "has both %s and %s: leave the one that clients' streams shall go to", portWord, socketWord)
	case !port && !socket:
		p.advise("COMMAND", "does not say where the worker shall listen: it has neither {port} nor {socket}, and there is no --upstream",
			s.whereLines()...)
	case socket:
		r.Upstream = Address{Network: "unix", Addr: r.WorkerSocket()}
		r.Command = Fill(s.Command, r.Upstream)
	}
}

// checkListen judges a TCP address to listen on; no host means all of this machine's.
func checkListen(text string) error {
	a, err := splitTCP(text, true)
	if err != nil || a.host == "" {
		return err
	}
	return checkHost(a.host)
}
