package child

import (
	"slices"
	"strconv"
	"strings"

	"autoglm-sidecar/supervisor"

	"github.com/prometheus/procfs"
)

// What a worker finds in its environment, and hands on to whatever it starts, so that we recognise it after our death.
const (
	ourPrefix        = "AUTOGLM_SIDECAR_"
	lifeVariable     = ourPrefix + "LIFE"     // NAME/N
	noteVariable     = ourPrefix + "NOTE"     // where the note of the life lies: tells two sidecars of one name apart
	upstreamVariable = ourPrefix + "UPSTREAM" // where the worker is to listen: HOST:PORT or unix:PATH
)

// mark is what the environment of a life's processes says.
type mark struct {
	name string
	note string
	life supervisor.Life
}

// environment returns base for the worker of a life: with the mark in front, and without what was meant for us alone.
// The notify socket, handed over listeners and the watchdog are the sidecar's business with its own service manager; a
// worker that answered in its place would be believed. So are its credentials, which are secrets, and what else systemd
// tells a service by its environment (systemd.exec(5)).
func (m mark) environment(base []string, at supervisor.Upstream) []string {
	env := []string{
		lifeVariable + "=" + m.name + "/" + strconv.FormatInt(int64(m.life), 10),
		noteVariable + "=" + m.note,
		upstreamVariable + "=" + at.String(),
	}
	for _, entry := range base {
		if name, _, _ := strings.Cut(entry, "="); !IsOurs(name) {
			env = append(env, entry)
		}
	}
	return env
}

// IsOurs reports whether a variable is for the sidecar alone.
func IsOurs(name string) bool {
	switch name {
	case "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "FDSTORE":
		return true
	}
	return slices.ContainsFunc([]string{"LISTEN_", "WATCHDOG_", "MEMORY_PRESSURE_", ourPrefix}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// isOn reports whether the process carries the mark, as far as we may look.
func (m mark) isOn(pid int) bool {
	life, _ := m.read(pid)
	return life != 0 && life == m.life
}

// read returns which life of this sidecar the process was started for, and where that was to listen; 0: none.
func (m mark) read(pid int) (supervisor.Life, supervisor.Upstream) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, supervisor.Upstream{}
	}
	env, err := p.Environ() // stops at 1 MiB, and ours stands in front
	if err != nil {
		return 0, supervisor.Upstream{}
	}
	var life supervisor.Life
	var at supervisor.Upstream
	noted := false
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case lifeVariable:
			number, ours := strings.CutPrefix(value, m.name+"/")
			if n, err := strconv.ParseInt(number, 10, 64); ours && err == nil {
				life = supervisor.Life(n)
			}
		case noteVariable:
			noted = value == m.note
		case upstreamVariable:
			at = parseUpstream(value)
		}
	}
	if !noted {
		return 0, supervisor.Upstream{}
	}
	return life, at
}

// parseUpstream is the inverse of supervisor.Upstream.String.
func parseUpstream(text string) supervisor.Upstream {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return supervisor.Upstream{Network: "unix", Address: path}
	}
	return supervisor.Upstream{Network: "tcp", Address: text}
}
