package daemon

import (
	"os"
	"strconv"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/health/rules"
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/config"
)

// question is a probe of the settings, put to the life of a status at its own address.
func (d *daemon) question(p config.PulseProbe, s supervisor.Status) probe.Probe {
	network, address := s.Upstream.Network, s.Upstream.Address
	switch p.Kind {
	case rules.HTTP:
		return probe.HTTP(network, address, p.Path)
	case rules.Exec:
		return probe.Exec(p.Command, checkEnvironment(s))
	case rules.Generate:
		return probe.Generate(network, address, p.Path, p.Model)
	default:
		return probe.TCP(network, address)
	}
}

// checkEnvironment is what a check command finds in its environment: where programs are, the language, and the worker. Of
// our own environment it gets nothing else: there are secrets in it.
func checkEnvironment(s supervisor.Status) []string {
	env := []string{
		"AUTOGLM_WORKER_ADDRESS=" + s.Upstream.String(),
		"AUTOGLM_WORKER_LIFE=" + strconv.FormatInt(int64(s.Life), 10),
		"AUTOGLM_WORKER_PID=" + strconv.Itoa(s.PID),
	}
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ"} {
		if value, is := os.LookupEnv(name); is {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// ends sums up how answers and connections have ended so far.
func (d *daemon) ends() rules.Ends {
	e := rules.Ends{Refused: d.arena.Pulse().Refused.Load()}
	for i := range arena.MaxLoops {
		c := d.arena.Counters(i)
		e.Whole += c.Outcomes[arena.Complete].Load() + c.Outcomes[arena.Unjudged].Load()
		e.Errors += c.Outcomes[arena.WorkerError].Load()
		for _, broken := range []arena.Cause{arena.Crash, arena.Abort, arena.ErrorEvent, arena.Truncated, arena.Malformed} {
			e.Broken += c.Causes[broken].Load()
		}
	}
	return e
}
