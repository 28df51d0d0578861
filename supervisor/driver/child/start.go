package child

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"autoglm-sidecar/supervisor"

	"golang.org/x/sys/unix"
)

// Start begins a life. An error says why it can't, and then nothing of it is alive.
func (d *Driver) Start(ctx context.Context, life supervisor.Life) (supervisor.Process, error) {
	if err := d.sweep(ctx); err != nil {
		return nil, err
	}
	at, err := d.address()
	if err != nil {
		return nil, err
	}
	if err := occupied(ctx, at); err != nil {
		return nil, err
	}
	command := d.opts.Command(at)
	program, err := lookUp(command)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}

	m := d.mark(life)
	d.output.begin(m)
	group, err := d.group(m)
	pid, main, cloneErr := d.clone(program, command, m.environment(d.opts.Environment, at))
	if cloneErr != nil {
		group.remove()
		return nil, cloneErr
	}
	if err == nil {
		if err = group.add(pid); err != nil {
			group.remove()
			group = nil
		}
	}
	d.noteCgroup(err)

	id := identity{mark: m, main: pid, group: group, keeper: d.opts.Keeper}
	if stat, alive := statOf(pid); alive {
		id.start = stat.Starttime
	}
	noted := note{Life: life, PID: pid, Start: id.start, Upstream: at, Command: d.digest(command), Output: d.output.inode()}
	if err := noted.write(d.opts.Note); err != nil {
		d.opts.Log.Warn("the next runner has to find this life by its environment alone", "life", life, "error", err)
	}
	return d.hold(id, at, &main), nil
}

func (d *Driver) noteCgroup(err error) {
	if err == nil {
		d.noCgroup.Store(nil)
		return
	}
	why := err.Error()
	d.noCgroup.Store(&why)
}

// clone starts the program as the child of our parent, or as ours where there is no keeper.
func (d *Driver) clone(program string, command, env []string) (pid int, main pidfd, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, pidfd{}, err
	}
	defer null.Close()
	// Whatever of ours is open stays out of the worker: a front's listener in its hands would outlive us there.
	if err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 0, pidfd{}, fmt.Errorf("keep open descriptors from the worker (needs Linux 5.11): %w", err)
	}
	out, err := d.output.forWorker()
	if err != nil {
		return 0, pidfd{}, err
	}
	defer out.Close()
	if user := d.opts.User; user != nil { // else it could print, and not open /dev/stdout
		if err := unix.Fchown(int(out.Fd()), int(user.Uid), -1); err != nil {
			return 0, pidfd{}, fmt.Errorf("give the worker's user the pipe of its output: %w", err)
		}
	}
	fd := -1
	sys := &syscall.SysProcAttr{Setsid: true, PidFD: &fd, Credential: d.opts.User}
	if d.exits != nil {
		sys.Cloneflags = unix.CLONE_PARENT
		d.exits.forget()
	}
	files := []uintptr{null.Fd(), out.Fd(), out.Fd()}
	defer d.exposed()()
	pid, err = syscall.ForkExec(program, command, &syscall.ProcAttr{Env: env, Files: files, Sys: sys})
	if err != nil {
		return 0, pidfd{}, execError(command[0], err)
	}
	if fd < 0 || unix.SetNonblock(fd, true) != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return 0, pidfd{}, errors.New("this kernel gives no pidfd of a new process (needs Linux 5.3)")
	}
	return pid, pidfd{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// lookUp finds the program of a command.
func lookUp(command []string) (string, error) {
	if len(command) == 0 || command[0] == "" {
		return "", errors.New("there is no command")
	}
	path, err := exec.LookPath(command[0])
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("%s: not found in PATH", command[0])
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s: no such file", command[0])
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%s: not executable", command[0])
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%s: found in the working directory only; write ./%s", command[0], command[0])
	}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err
	}
	return "", fmt.Errorf("%s: %w", command[0], err)
}

// execError says what the kernel found wrong with a program that exists.
func execError(program string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: the interpreter that its first line names, or its loader, does not exist", program)
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%s: no program for this machine, and no script with #! in its first line", program)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("%s: arguments and environment are too long", program)
	}
	return fmt.Errorf("%s: %w", program, err)
}

// address is where the next life is to listen. A socket that was left there is removed.
func (d *Driver) address() (supervisor.Upstream, error) {
	at := d.opts.Upstream
	if at.Network == "unix" {
		return at, removeStale(at.Address)
	}
	if at.Address == "" {
		port, err := freePort()
		if err != nil {
			return at, fmt.Errorf("find a free port: %w", err)
		}
		at.Address = port
	}
	return at, nil
}

// freePort is an address of this machine at which nobody listens. Who takes it before the worker does is found out when
// the worker should be ready.
func freePort() (string, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	l, err := c.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// removeStale removes a socket file that nobody listens on: a server that finds one at its path does not start.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way: it is no socket, so it is not removed", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		fallthrough
	case errors.Is(err, unix.EAGAIN): // its queue is full
		return fmt.Errorf("%s: %s listens there already", path, whoListens("unix", path))
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	}
	return fmt.Errorf("%s: %w", filepath.Base(path), err)
}
