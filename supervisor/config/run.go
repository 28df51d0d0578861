package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"time"

	"autoglm-sidecar/health/timetable"
)

// Run is one sidecar as it shall run: Settings that were found good, with everything implied filled in.
type Run struct {
	Name     string
	Mode     Mode
	Engine   Engine
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
	GPU           GPU
	Windows       []timetable.Window // when a planned restart may happen; empty: at any time. timetable.Parse finds nothing wrong with them
	MaxAge        time.Duration      // how long a life may run before it is replaced at a quiet moment; 0: no bound
	MaxAgeJitter  float64            // share of MaxAge that is left to chance, 0 to 1
	// Command is empty where somebody else runs the worker. Where Upstream is zero Fill puts a life's port into it; else
	// it has no placeholders any more.
	Command     []string
	User        Account           // whom the worker runs as; without a name: as we do
	Environment map[string]string // of the worker, beside ours: see WorkerEnvironment
	MemoryShare float64           // of each GPU; 0: not said

	// Notes are what a person should know of these settings, though they are good.
	Notes []string
	// Shown are the settings as `config show` shows them.
	Shown Shown
}

// RuntimeDir is the directory of the control socket and of the worker's sockets.
func (r Run) RuntimeDir() string { return filepath.Dir(r.Control) }

// WorkerSocket is the path that {socket} stands for in the command, unless --upstream names another. A worker that runs as
// another user has a directory for it, since the runtime directory is ours alone to write to.
func (r Run) WorkerSocket() string {
	if r.User.Name != "" {
		return filepath.Join(r.RuntimeDir(), r.Name+".worker", "worker.sock")
	}
	return filepath.Join(r.RuntimeDir(), r.Name+".worker.sock")
}

// note adds what a person should know about a setting.
func (r *Run) note(s Settings, path, text string) {
	note := s.called(path) + ": " + text
	if at := s.position(path); at != (Position{}) {
		note = at.String() + ": " + note
	}
	r.Notes = append(r.Notes, note)
}

var namePattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// Resolve judges the settings as a whole for a process on host h. A wrong setting gives an error of type Problems
// that holds all of them; the Run is then of no use.
func (s Settings) Resolve(h Host) (Run, error) {
	if s.broken {
		return Run{}, s.wrong
	}
	s = s.clone()
	preset := s.applyPresets()
	j := &judge{s: &s, p: append(Problems(nil), s.wrong...)}
	keys().judge("", reflect.ValueOf(&s).Elem(), j.add)

	r := Run{
		Name: s.Name, Mode: s.Mode, Engine: s.engine(), Drain: s.Drain, StartDeadline: s.StartDeadline, StopGrace: s.StopGrace,
		Heartbeat: s.Heartbeat, Ready: s.Ready, Queue: s.Queue, Replay: s.Replay, Limits: s.Limits, Pulse: s.Pulse,
		Command: s.Command, Environment: s.Environment, MemoryShare: s.MemoryShare, MaxAge: s.MaxAge, MaxAgeJitter: s.MaxAgeJitter,
	}
	if len(s.Windows) > 0 {
		r.Windows = s.Windows
	}
	r.Fronts = s.judgeFronts(j)
	if s.HTTP != HTTPOff {
		r.HTTP = s.HTTP
	}
	r.Probe, _ = ParseProbe(s.Probe) // judged by its key
	r.Probe.Timeout = s.ProbeTimeout
	s.judgeUser(j, &r, h)
	if CheckName(s.Name) == nil { // else each path would only repeat the name's fault
		var err error
		r.Control, err = controlPath(s, r, h)
		j.add("control", s.Control, err)
		r.State, err = stateDir(s, h)
		j.add("state", s.State, err)
	}
	s.judgeWorker(j, &r)
	s.judgeMemory(j, &r)
	s.judgeHold(j, &r)
	s.judgePulse(j)
	s.judgeGPU(j, &r)
	s.judgeAge(j)
	s.judgeDoors(j, &r)

	if len(j.p) > 0 {
		j.p.sort()
		return Run{}, j.p
	}
	r.Shown = s.show(r, preset)
	return r, nil
}

// CheckName judges the name of a sidecar: it becomes part of paths, environments and logs.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return errors.New("a name has 1 to 32 characters of a-z, 0-9 and -")
	}
	return nil
}

// judgeHold works out how long a stream waits at most. A hold that is over before a restart can be is refused: each restart
// would refuse those who wait for it.
func (s Settings) judgeHold(j *judge, r *Run) {
	restart := s.Drain + s.StartDeadline
	d, auto, err := parseHold(s.Hold)
	switch {
	case err != nil: // told already
	case auto:
		r.Hold = restart
	case d == 0, d >= restart, len(r.Command) == 0:
		r.Hold = d
	default:
		j.addf("hold", s.Hold, "is shorter than drain + start deadline (%s + %s), so a restart may refuse streams that wait for it; write auto, %s or longer, or 0 to refuse at once",
			shortSpan(s.Drain), shortSpan(s.StartDeadline), shortSpan(restart))
	}
}

// judgeUser finds out who the worker's user is.
func (s Settings) judgeUser(j *judge, r *Run, h Host) {
	const key = "worker.user"
	if s.User == "" {
		return
	}
	r.User = Account{Name: s.User}
	switch {
	case h.UID != 0:
		j.addf(key, s.User, "only root can run a worker as somebody else; leave it away, or run the sidecar as root")
	case h.Account == nil:
	default:
		account, err := h.Account(s.User)
		if err != nil {
			j.add(key, s.User, err)
			return
		}
		r.User = account
	}
	if len(s.Command) == 0 && !j.s.isBad(commandKey) {
		j.addf(key, s.User, "there is no command to run as somebody: the worker is somebody else's")
	}
}

// judgeWorker finds out where the worker will listen: an address that was given, or a placeholder in the command.
func (s Settings) judgeWorker(j *judge, r *Run) {
	const upstream = "worker.upstream"
	port, socket := Placeholders(s.Command)
	if s.Upstream != "" {
		var err error
		r.Upstream, err = ParseAddress(s.Upstream)
		switch {
		case err != nil: // told by its key
		case port && r.Upstream.Network != "tcp":
			j.addf(commandKey, "", "has {port}, but %s is a socket; write {socket}, or leave %s away", j.as(upstream, s.Upstream), s.called(upstream))
		case socket && r.Upstream.Network != "unix":
			j.addf(commandKey, "", "has {socket}, but %s is a port; write {port}, or leave %s away", j.as(upstream, s.Upstream), s.called(upstream))
		default:
			r.Command = Fill(s.Command, r.Upstream)
		}
		return
	}

	switch {
	case j.s.isBad(commandKey), j.s.isBad(upstream): // what it would have been nobody knows
	case len(s.Command) == 0:
		j.advise(upstream, "", "there is no worker to relay to",
			s.Line(nil, "--upstream", "127.0.0.1:8001"),
			s.Line([]string{"vllm", "serve", "MODEL", "--uds", socketWord}))
	case port && socket:
		j.addf(commandKey, "", "has both %s and %s: leave the one that clients' streams shall go to", portWord, socketWord)
	case !port && !socket:
		j.advise(commandKey, "", fmt.Sprintf("does not say where the worker shall listen: it has neither {port} nor {socket}, and there is no %s", s.called(upstream)),
			s.whereLines()...)
	case socket:
		r.Upstream = Address{Network: "unix", Addr: r.WorkerSocket()}
		r.Command = Fill(s.Command, r.Upstream)
	}
}

// judgeAge refuses an age for a worker that nobody here can start.
func (s Settings) judgeAge(j *judge) {
	if s.MaxAge > 0 && s.Upstream != "" && len(s.Command) == 0 && !j.s.isBad(commandKey) {
		j.addf("max_age", shortSpan(s.MaxAge), "there is no command to replace a worker with: it is somebody else's")
	}
}

// judgePulse looks at each probe as a whole.
func (s Settings) judgePulse(j *judge) {
	for i, p := range s.Pulse.Probes {
		at := element("pulse.probes", i)
		switch {
		case p.Kind == "exec" && len(p.Command) == 0:
			j.addf(below(at, "command"), "", "is what an exec probe runs, and there is none")
		case p.Kind != "exec" && len(p.Command) > 0:
			j.addf(below(at, "command"), "", "is of exec probes only, and this one is %s", p.Kind)
		case p.Kind == "http" && p.Path == "":
			j.addf(below(at, "path"), "", "is what an http probe asks for, and there is none; write path: /health")
		}
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

func checkHTTP(text string) error {
	if text == HTTPOff || text == "" {
		return nil
	}
	return checkListen(text)
}

func checkUpstream(text string) error {
	if text == "" {
		return nil
	}
	_, err := ParseAddress(text)
	return err
}

func checkProbe(text string) error {
	if text == ProbeAuto {
		return nil
	}
	_, err := ParseProbe(text)
	return err
}

// checkPath judges a path, or the end of one, as it stands in a request.
func checkPath(text string) error {
	if text == "" {
		return nil
	}
	if _, err := ParseProbe("http:" + text); err != nil {
		return errors.New("must begin with one / and be written in ASCII, without spaces and #")
	}
	return nil
}
