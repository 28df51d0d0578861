// Package tcpdiag asks the kernel whose socket it is. A connection to an address is given to somebody: this room says
// to which processes, whether the address is a port or a path, and what they are called. Two workers that share one
// port (SO_REUSEPORT) are both named: the kernel splits connections between them without a word.
//
// It reads /proc, which tells a process only about processes of the same user unless it is root; what it may not see
// it says (HiddenError).
package tcpdiag

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
)

// ErrNobody: no socket listens on the address.
var ErrNobody = errors.New("nobody listens")

// HiddenError: a socket listens on the address, and we may not see who holds it: a process of another user, or one in
// another PID namespace.
type HiddenError struct{ UID int } // UID is the user who made the socket; -1: not known

func (e *HiddenError) Error() string {
	if e.UID < 0 {
		return "the process that listens is hidden from us"
	}
	return fmt.Sprintf("the process that listens belongs to user id %d and is hidden from us", e.UID)
}

// Owners returns the PIDs of the processes to which the kernel gives a new connection to the address, in ascending
// order. The network is "tcp" with an IP address and port, or "unix" with a path. All holders count: parent and
// children that share a socket, and all sockets of a SO_REUSEPORT group.
//
// The error is ErrNobody, a *HiddenError (together with the PIDs of those who can be seen), or says what could not be
// read. A socket that was closed between two reads looks hidden: who needs to be sure asks again.
func Owners(network, address string) ([]int, error) {
	return ownersAmong(procfs.AllProcs, network, address)
}

// OwnedBy reports whether a new connection to the address is given to these processes and to no other. It looks at them
// alone, so it takes a fraction of the time of Owners, which says who it is where it is none of them. The error is
// ErrNobody, or says what could not be read.
func OwnedBy(network, address string, pids []int) (bool, error) {
	these := func() (procfs.Procs, error) {
		var processes procfs.Procs
		for _, pid := range pids {
			if p, err := procfs.NewProc(pid); err == nil { // else it is gone
				processes = append(processes, p)
			}
		}
		return processes, nil
	}
	owners, err := ownersAmong(these, network, address)
	if _, others := errors.AsType[*HiddenError](err); others {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(owners, func(pid int) bool { return !slices.Contains(pids, pid) }), nil
}

// among lists processes that may be owners.
type among func() (procfs.Procs, error)

func ownersAmong(candidates among, network, address string) ([]int, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return tcpOwners(candidates, address)
	case "unix":
		return unixOwners(candidates, address)
	}
	return nil, fmt.Errorf("who listens on %s %s: no such network", network, address)
}

// Describe names a process for people: its command and PID, without arguments, which may hold secrets.
func Describe(pid int) string {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return fmt.Sprintf("PID %d", pid)
	}
	comm, err := p.Comm()
	if err != nil || comm == "" {
		return fmt.Sprintf("PID %d", pid)
	}
	return fmt.Sprintf("%s (PID %d)", comm, pid)
}

// listener is a listening socket as /proc/net lists it.
type listener struct {
	inode uint64
	uid   int // -1: not known
}

// holders returns which of the candidates have one of the sockets among their descriptors. A HiddenError says that one
// of the sockets is held by none of them.
func holders(candidates among, sockets []listener) ([]int, error) {
	wanted := make(map[string]bool, len(sockets))
	for _, s := range sockets {
		wanted[socketTarget(s.inode)] = true
	}
	processes, err := candidates()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	seen := make(map[string]bool, len(sockets))
	for _, p := range processes {
		targets, err := p.FileDescriptorTargets()
		if err != nil {
			continue // gone, or hidden from us: the latter is found out below
		}
		holds := false
		for _, target := range targets {
			if strings.HasPrefix(target, "socket:") && wanted[target] {
				seen[target], holds = true, true
			}
		}
		if holds {
			pids = append(pids, p.PID)
		}
	}
	slices.Sort(pids)
	for _, s := range sockets {
		if !seen[socketTarget(s.inode)] {
			return pids, &HiddenError{UID: s.uid}
		}
	}
	return pids, nil
}

// socketTarget is what /proc/PID/fd/N of a socket links to.
func socketTarget(inode uint64) string { return fmt.Sprintf("socket:[%d]", inode) }
