package child

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// killRounds bounds how often Kill looks for processes that were forked while it killed their parents.
const killRounds = 50

// kill sends KILL to every process of the life, and looks again until it finds none that it has not killed. main is
// the main process; nil: it is not known. It returns whom it killed: they take their time to die, and some of them can't
// be recognised any more as soon as those before them are gone.
func (id identity) kill(main *pidfd) (victims []member, err error) {
	living, err := id.living() // first of all: a child is recognised by its parent only as long as that lives
	id.group.kill()
	if main != nil {
		_ = main.signalGroup(unix.SIGKILL) // an old kernel can't, and an empty group needs none: the rounds get the rest
	}
	killed := make(map[incarnation]bool)
	var failed []error
	for range killRounds {
		if err != nil {
			return victims, err
		}
		fresh := false
		for _, m := range living {
			if killed[m.incarnation] {
				continue
			}
			fresh, killed[m.incarnation] = true, true
			victims = append(victims, m)
			if err := m.kill(); err != nil {
				failed = append(failed, err)
			}
		}
		if !fresh {
			return victims, errors.Join(failed...)
		}
		living, err = id.living()
	}
	return victims, errors.New("it starts processes faster than they can be killed")
}

// kill kills this process and never another that has got its PID.
func (m member) kill() error {
	process, err := openPidfd(m.pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer process.close()
	if now, alive := statOf(m.pid); !alive || now.Starttime != m.start {
		return nil
	}
	if err := process.signal(syscall.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %v: %w", m, err)
	}
	return nil
}

// reclaim waits until the victims of a kill are gone and no process of the life lives, and tells for whom. When ctx ends
// first, its error names them.
func (id identity) reclaim(ctx context.Context, victims []member, waitsFor func(names string)) error {
	for _, m := range victims {
		if err := m.waitGone(ctx); err != nil {
			return fmt.Errorf("still alive: %v: %w", m, err)
		}
	}
	for {
		living, err := id.living()
		if err != nil {
			return err
		}
		if len(living) == 0 {
			id.group.removeSoon()
			return nil
		}
		waitsFor(nameAll(living))
		// One is waited for at a time; when it is gone we look at all again.
		if err := living[0].waitGone(ctx); err != nil {
			return fmt.Errorf("still alive: %s: %w", nameAll(living), err)
		}
	}
}

func (m member) waitGone(ctx context.Context) error {
	process, err := openPidfd(m.pid)
	if errors.Is(err, unix.ESRCH) {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	defer process.close()
	if now, alive := statOf(m.pid); !alive || now.Starttime != m.start {
		return ctx.Err()
	}
	return process.wait(ctx)
}

// nameAll names the first few.
func nameAll(members []member) string {
	const few = 5
	var names []string
	for i, m := range members {
		if i == few {
			names = append(names, fmt.Sprintf("and %d more", len(members)-few))
			break
		}
		names = append(names, m.String())
	}
	return strings.Join(names, ", ")
}
