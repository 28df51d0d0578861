package config

import (
	"errors"
	"os"
	"path/filepath"
)

// Host is what the places of files depend on.
type Host struct {
	UID    int
	Getenv func(string) string
	Root   string // what the system's directories lie below; empty: /
}

func (h Host) system(dir string) string { return filepath.Join("/", h.Root, dir) }

// ThisHost returns the Host of this process.
func ThisHost() Host { return Host{UID: os.Geteuid(), Getenv: os.Getenv} }

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

func controlPath(s Settings, h Host) (string, error) {
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
	_, err = socketPath(Run{Name: s.Name, Control: path}.WorkerSocket())
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
