package config

import (
	"errors"
	"fmt"
	"os"
	osuser "os/user"
	"path/filepath"
	"strconv"
)

// Host is what the places of files depend on.
type Host struct {
	UID    int
	Getenv func(string) string
	Root   string // what the system's directories lie below; empty: /
	// Account looks a user up by its name; nil: nobody is looked up.
	Account func(name string) (Account, error)
}

// Account is a user of this machine.
type Account struct {
	Name   string
	UID    int
	GID    int
	Groups []int // further ones
	Home   string
}

func (h Host) system(dir string) string { return filepath.Join("/", h.Root, dir) }

// ThisHost returns the Host of this process.
func ThisHost() Host { return Host{UID: os.Geteuid(), Getenv: os.Getenv, Account: lookUpAccount} }

// lookUpAccount asks /etc/passwd and /etc/group: a static program has nobody else to ask.
func lookUpAccount(name string) (Account, error) {
	u, err := osuser.Lookup(name)
	if err != nil {
		return Account{}, errors.New("there is no such user on this machine (in /etc/passwd)")
	}
	groups, err := u.GroupIds()
	if err != nil {
		return Account{}, fmt.Errorf("look up its groups: %w", err)
	}
	a := Account{Name: u.Username, Home: u.HomeDir}
	if a.UID, err = strconv.Atoi(u.Uid); err != nil {
		return Account{}, fmt.Errorf("its number: %w", err)
	}
	if a.GID, err = strconv.Atoi(u.Gid); err != nil {
		return Account{}, fmt.Errorf("its group's number: %w", err)
	}
	for _, group := range groups {
		n, err := strconv.Atoi(group)
		if err != nil {
			return Account{}, fmt.Errorf("a group's number: %w", err)
		}
		a.Groups = append(a.Groups, n)
	}
	return a, nil
}

// The directories of a sidecar that runs as root, as systemd's RuntimeDirectory= and StateDirectory= name them.
const (
	program       = "autoglm-sidecar"
	systemRuntime = "/run/" + program
	systemState   = "/var/lib/" + program
)

// runtimeDir returns the directory of the control sockets: of the system for root, else of the user's session
// (XDG Base Directory Specification). A guess below /tmp would be anybody's to take, so there is none.
func (h Host) runtimeDir() (string, error) {
	if h.UID == 0 {
		return h.system(systemRuntime), nil
	}
	if dir := h.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, program), nil
	}
	return "", errors.New("is needed: not root, and XDG_RUNTIME_DIR is not set, so there is no runtime directory; write --control PATH")
}

func controlPath(s Settings, r Run, h Host) (string, error) {
	path := s.Control
	if path == "" {
		dir, err := h.runtimeDir()
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, s.Name+".sock")
	}
	path, err := socketPath(path)
	if err != nil {
		return "", err
	}
	// {socket} lies beside the control socket and has the longer name.
	_, err = socketPath(Run{Name: s.Name, Control: path, User: r.User}.WorkerSocket())
	return path, err
}

// stateDir returns where the ledger of this sidecar lies.
func stateDir(s Settings, h Host) (string, error) {
	switch dir := h.Getenv("XDG_STATE_HOME"); {
	case s.State != "":
		return filepath.Abs(s.State)
	case h.UID == 0:
		return filepath.Join(h.system(systemState), s.Name), nil
	case filepath.IsAbs(dir):
		return filepath.Join(dir, program, s.Name), nil
	}
	if home := h.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", program, s.Name), nil
	}
	return "", errors.New("is needed: not root, and neither XDG_STATE_HOME nor HOME is set; write --state DIR")
}

// ControlPaths returns where the control socket of a sidecar with this name may be, most likely first: the user's
// own sidecar, then the system's. root has only the latter.
func ControlPaths(name string, h Host) []string {
	var paths []string
	if dir, err := h.runtimeDir(); err == nil {
		paths = append(paths, filepath.Join(dir, name+".sock"))
	}
	if h.UID != 0 {
		paths = append(paths, filepath.Join(h.system(systemRuntime), name+".sock"))
	}
	return paths
}
