package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNoKeeper is a program that was built without its entry point: it runs, and does not survive its own death.
var ErrNoKeeper = errors.New("this build has no keeper")

// SidecarOptions says what is run: PROGRAM run ... -- PROGRAM sim ...
type SidecarOptions struct {
	Program   string   // the built file; it is the sidecar, its command line client and the simulated worker
	Unix      bool     // the worker listens on a unix socket, not on a TCP port
	UnixFront bool     // and clients connect to one
	Run       []string // further flags of run
	Front     string   // what a file of settings says of the front, as in "early_after: 1s"
	Sim       []string // further flags of sim
	GPU       *GPU     // nil: none is there
}

// GPU is a simulated one for the worker, and how it is watched.
type GPU struct {
	Library  string  // the double of NVIDIA's
	MiB      int     // that it has
	Pace     float64 // how much faster than the clock memory leaks and is judged
	Settings string  // further ones of gpu, as in "window: 15m, hold: 1m"
}

func (o SidecarOptions) workerName() string {
	name := "tcp worker"
	if o.Unix {
		name = "unix worker"
	}
	if o.UnixFront {
		name += ", unix front"
	}
	return name
}

// Status is what `status --json` says, as far as it is needed here.
type Status struct {
	Keeper    int   `json:"keeper"`
	Runner    int   `json:"runner"`
	TakeOvers int64 `json:"take_overs"`
	Upgrades  struct {
		Tried     int64  `json:"tried"`
		Undone    int64  `json:"undone"`
		OnTrial   bool   `json:"on_trial"`
		LastError string `json:"last_error"`
	} `json:"upgrades"`
	Phase   string `json:"phase"`
	Barred  string `json:"barred"`
	Drained *struct {
		By string `json:"by"`
	} `json:"drained"`
	Gate struct {
		Held   int `json:"held"`
		Queued int `json:"queued"`
	} `json:"gate"`
	Life      int64  `json:"life"`
	Restarts  int64  `json:"restarts"`
	LastError string `json:"last_error"`
	Fronts    []struct {
		Listen string `json:"listen"`
		Open   int    `json:"open"`
	} `json:"fronts"`
	Worker struct {
		PID      int    `json:"pid"`
		Upstream string `json:"upstream"`
	} `json:"worker"`
	WouldRestart map[string]int64 `json:"would_restart"`
	Health       struct {
		Verdict  string `json:"verdict"`
		Warnings []struct {
			Code string `json:"code"`
			Text string `json:"text"`
		} `json:"warnings"`
	} `json:"health"`
	Streams struct {
		Open     int              `json:"open"`
		Outcomes map[string]int64 `json:"outcomes"`
		Cuts     map[string]int64 `json:"cuts"` // by cause
	} `json:"streams"`
}

// Serving is the Phase in which the worker answers.
const Serving = "serving"

// Sidecar is a running sidecar with its simulated worker, all of it on this machine's loopback and in a directory of its own.
type Sidecar struct {
	Address string // where clients connect, HOST:PORT or unix:PATH

	program string
	dir     string
	control string
	keeper  *exec.Cmd
	log     *os.File
	exited  chan struct{} // closed when the keeper is gone
	exitErr error         // how; read after exited is closed
}

// StartSidecar starts one and waits until its worker serves. ErrNoKeeper: the build cannot be killed and go on.
func StartSidecar(ctx context.Context, opts SidecarOptions) (*Sidecar, error) {
	// Not below TMPDIR's usual depth of a test's directory: a socket's path has 107 bytes.
	dir, err := os.MkdirTemp("", "sidecar-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	s := &Sidecar{program: opts.Program, dir: dir, control: filepath.Join(dir, "control.sock")}
	if err := s.start(opts); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.awaitServing(ctx); err != nil {
		err = fmt.Errorf("%w; the last lines of its output:\n%s", err, s.LastLines())
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Sidecar) start(opts SidecarOptions) (err error) {
	if s.Address == "" {
		if s.Address = "unix:" + filepath.Join(s.dir, "front.sock"); !opts.UnixFront {
			if s.Address, err = freeAddress(); err != nil {
				return err
			}
		}
		if s.log, err = os.Create(filepath.Join(s.dir, "output")); err != nil {
			return fmt.Errorf("make the output file: %w", err)
		}
	}
	worker := "127.0.0.1:{port}"
	if opts.Unix {
		worker = "unix:{socket}"
	}
	settings, err := s.settings(opts)
	if err != nil {
		return err
	}
	sim := opts.Sim
	if opts.GPU != nil {
		// It is the machine's and there before any worker; what is on it the simulated worker adds.
		card := fmt.Appendf(nil, "gpu GPU-51d00b1e-0000-4000-8000-000000000001\ntotal %d\nreserved %d\nend\n", opts.GPU.MiB<<20, 512<<20)
		if err := os.WriteFile(s.gpuState(), card, 0o600); err != nil {
			return fmt.Errorf("make a GPU: %w", err)
		}
		sim = append([]string{"--gpu-state", s.gpuState(), "--gpu-pace", fmt.Sprint(opts.GPU.Pace)}, sim...)
	}
	args := slices.Concat(
		[]string{"run", "--name", "check"}, settings, []string{"--control", s.control, "--http", "off", "--state", filepath.Join(s.dir, "state")},
		opts.Run, []string{"--", opts.Program, "sim", "--listen", worker}, sim)
	s.keeper = exec.Command(opts.Program, args...)
	s.keeper.Stdout, s.keeper.Stderr = s.log, s.log
	s.keeper.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+s.dir)
	if opts.GPU != nil {
		s.keeper.Env = append(s.keeper.Env, "AUTOGLM_SIDECAR_DOUBLE="+s.gpuState(), fmt.Sprintf("AUTOGLM_SIDECAR_PACE=%g", opts.GPU.Pace))
	}
	// A terminal's Ctrl-C is for us: we stop the sidecar ourselves. It leaves by itself only if we are killed.
	s.keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := s.keeper.Start(); err != nil {
		return fmt.Errorf("start the sidecar: %w", err)
	}
	s.exited = make(chan struct{})
	go func() {
		s.exitErr = s.keeper.Wait()
		close(s.exited)
	}()
	return nil
}

func (s *Sidecar) gpuState() string { return filepath.Join(s.dir, "gpu") }

// settings are the flags that say where the front is and what the worker's GPU is like: in a file where no flag can.
func (s *Sidecar) settings(opts SidecarOptions) (flags []string, err error) {
	var file []byte
	switch {
	case opts.Front != "":
		file = fmt.Appendf(file, "fronts: [{listen: %q, %s}]\n", s.Address, opts.Front)
	default:
		flags = []string{"--listen", s.Address}
	}
	if opts.GPU != nil {
		// The reader stands beside the program. After an upgrade that may be another file in another place.
		reader := filepath.Join(filepath.Dir(opts.Program), "autoglm-sidecar-nvml")
		file = fmt.Appendf(file, "gpu: {reader: %q, library: %q", reader, opts.GPU.Library)
		if opts.GPU.Settings != "" {
			file = append(file, ", "+opts.GPU.Settings...)
		}
		file = append(file, "}\n"...)
	}
	if file == nil {
		return flags, nil
	}
	path := filepath.Join(s.dir, "settings.yaml")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return nil, fmt.Errorf("write the settings: %w", err)
	}
	return append(flags, "--config", path), nil
}

// KillBoth kills keeper and runner, so that no worker has anybody in front of it any more.
func (s *Sidecar) KillBoth(ctx context.Context) error {
	st, err := s.ask(ctx)
	if err != nil {
		return fmt.Errorf("ask for the runner: %w", err)
	}
	err = errors.Join(s.keeper.Process.Kill(), Kill.Strike(st.Runner))
	<-s.exited
	return err
}

// Again starts a sidecar in the place of one that was killed, and waits until it serves.
func (s *Sidecar) Again(ctx context.Context, opts SidecarOptions) error {
	if err := s.start(opts); err != nil {
		return err
	}
	return s.awaitServing(ctx)
}

// freeAddress is a loopback port that nobody uses at this moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (s *Sidecar) awaitServing(ctx context.Context) error {
	return poll(ctx, 50*time.Millisecond, func() (bool, error) {
		select {
		case <-s.exited:
			return false, fmt.Errorf("the sidecar ended: %w", cmpErr(s.exitErr, errors.New("status 0")))
		default:
		}
		st, err := s.Status(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // its control socket isn't there yet; if it never comes, ctx ends this
		}
		if st.Keeper == 0 || st.Keeper == st.Runner {
			return false, ErrNoKeeper
		}
		return st.Phase == Serving, nil
	})
}

// cmpErr is the first error that isn't nil.
func cmpErr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// Status asks by the command that people use.
func (s *Sidecar) Status(ctx context.Context) (Status, error) {
	out, err := s.Command(ctx, "status", "--json")
	var st Status
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(out, &st); err != nil {
		return st, fmt.Errorf("read status --json: %w", err)
	}
	return st, nil
}

// Restart is how a restart of the worker ended, as `restart --wait --json` tells.
type Restart struct {
	ID       int64  `json:"id"`
	Joined   bool   `json:"joined"` // it was under way when it was asked for
	Outcome  string `json:"outcome"`
	Error    string `json:"error"`
	FromLife int64  `json:"from_life"`
	ToLife   int64  `json:"to_life"`
	Cut      int64  `json:"cut"`
}

// Restart asks for a restart by the command that people use, and returns when it has ended. One that failed or was postponed
// is an error.
func (s *Sidecar) Restart(ctx context.Context, flags ...string) (Restart, error) {
	var r Restart
	out, err := s.Command(ctx, append([]string{"restart", "--wait", "--json"}, flags...)...)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("read restart --json: %w", err)
	}
	return r, nil
}

// Command runs a subcommand against this sidecar's control socket and returns what it printed.
func (s *Sidecar) Command(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.program, append(args, "--control", s.control)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, lastLines(slices.Concat(out, stderr.Bytes()), 5))
	}
	return out, nil
}

// Keeper is the pid of the process that was started.
func (s *Sidecar) Keeper() int { return s.keeper.Process.Pid }

// children lists the keeper's: the runner and the lives of the worker.
func (s *Sidecar) children() []int {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.Keeper()))
	if err != nil {
		return nil
	}
	var pids []int
	for _, list := range lists {
		raw, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(raw)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// nextRunner waits for the runner that the keeper starts after the death of the last one: a child that isn't among those of
// before and runs what the keeper runs. It polls fast, since it is used to hit a runner in the milliseconds of its take-over.
func (s *Sidecar) nextRunner(ctx context.Context, before []int) (int, error) {
	next := 0
	err := poll(ctx, 100*time.Microsecond, func() (bool, error) {
		for _, pid := range s.children() {
			if !slices.Contains(before, pid) && s.isRunner(pid) {
				next = pid
				return true, nil
			}
		}
		return false, s.gone()
	})
	return next, err
}

// isRunner says whether a child of the keeper is no life of the worker: those have executed another command line.
func (s *Sidecar) isRunner(pid int) bool {
	keeper, err := commandLine(s.Keeper())
	if err != nil {
		return false
	}
	child, err := commandLine(pid)
	return err == nil && bytes.Equal(child, keeper)
}

func commandLine(pid int) ([]byte, error) { return os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) }

// gone is an error once the keeper has ended.
func (s *Sidecar) gone() error {
	select {
	case <-s.exited:
		return fmt.Errorf("the keeper ended: %w; the last lines of its output:\n%s", cmpErr(s.exitErr, errors.New("status 0")), s.LastLines())
	default:
		return nil
	}
}

// Stop asks the sidecar to leave (SIGTERM), and after a while ends it and its worker by force. Its directory is removed.
// Nothing that it started is left behind.
func (s *Sidecar) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	_ = s.keeper.Process.Signal(syscall.SIGTERM) // fails only when it is gone, which is what we want
	var err error
	select {
	case <-s.exited:
	case <-ctx.Done():
		err = fmt.Errorf("the sidecar did not leave within %v and was killed; the last lines of its output:\n%s", stopPatience, s.LastLines())
		s.kill()
	}
	return errors.Join(err, s.log.Close(), os.RemoveAll(s.dir))
}

// stopPatience covers the stop of a worker that obeys, not one that ignores TERM: no scenario ends with such a one.
const stopPatience = 20 * time.Second

// kill ends keeper, runner and lives. The keeper is stopped first, so that it starts no other runner for the one that dies.
func (s *Sidecar) kill() {
	_ = s.keeper.Process.Signal(syscall.SIGSTOP)
	for _, pid := range s.children() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = s.keeper.Process.Kill()
	<-s.exited
}
