package config

import "path/filepath"

// StateDirs returns where the ledger of a sidecar with this name may lie, most likely first: the user's own sidecar, then the
// system's.
func StateDirs(name string, h Host) []string {
	var dirs []string
	if dir, err := stateDir(Settings{Name: name}, h); err == nil {
		dirs = append(dirs, dir)
	}
	if h.UID != 0 {
		dirs = append(dirs, filepath.Join(h.system(systemState), name))
	}
	return dirs
}
