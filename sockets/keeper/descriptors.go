package keeper

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Place moves the open descriptor fd to the fixed number to, closing what lay there, and returns where it is now.
// Without a keeper the numbers are nobody's, and fd stays where it is. After an error fd is still open.
func Place(fd, to int) (int, error) {
	if own.gen == 0 {
		return fd, nil
	}
	if to < FirstFixed || to >= EndFixed {
		return fd, fmt.Errorf("descriptor %d is not a fixed number", to)
	}
	if err := unix.Dup3(fd, to, unix.O_CLOEXEC); err != nil {
		return fd, fmt.Errorf("put descriptor %d at %d: %w", fd, to, err)
	}
	return to, unix.Close(fd)
}

// Vacate closes the descriptor at a fixed number. The number itself stays occupied, or the next accept would get it
// and the next Place close a stranger. Without a keeper it closes fd.
func Vacate(fd int) error {
	if own.gen == 0 {
		return unix.Close(fd)
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("vacate descriptor %d: %w", fd, err)
	}
	_, err = Place(null, fd)
	return err
}

// Strays returns the sockets and pipes that are open and lie at no fixed number. A runner asks before it opens the
// first one of its own: they are what the runner before it left. Those that are in no slot of the arena are nobody's,
// and to be closed (a listener's duplicate, a connection to the control socket) or adopted (just accepted).
// It returns nothing in the first runner, where they are what a parent passed on.
func Strays() ([]int, error) {
	if own.gen <= 1 {
		return nil, nil
	}
	strays, err := connections()
	if err != nil {
		return nil, fmt.Errorf("find what the last runner left: %w", err)
	}
	return strays, nil
}

// connections returns all open sockets and pipes but those at fixed numbers.
func connections() ([]int, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd < firstOwn || FirstFixed <= fd && fd < EndFixed {
			continue
		}
		var stat unix.Stat_t
		if unix.Fstat(fd, &stat) != nil {
			continue // the directory itself, closed by now
		}
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFSOCK, unix.S_IFIFO:
			found = append(found, fd)
		}
	}
	return found, nil
}
