package config

import (
	"slices"
	"strings"
	"time"
)

// witnessPath is where a worker is asked for a token if nothing was said. vLLM, SGLang and llama.cpp all have it.
const witnessPath = "/v1/completions"

// String names a probe as people see it, as in http:/health. Of a command it shows no secret.
func (p PulseProbe) String() string {
	switch {
	case p.Path != "":
		return p.Kind + ":" + p.Path
	case len(p.Command) > 0:
		return p.Kind + ":" + strings.Join(RedactCommand(p.Command), " ")
	}
	return p.Kind
}

// PulseProbes are the questions to a serving worker: those of the settings, and where there are none the question that
// told that it is ready. That one has its engine's time to be answered: SGLang makes a token for the answer of /health,
// and gives up after 20 s.
func (r Run) PulseProbes() []PulseProbe {
	if len(r.Pulse.Probes) > 0 {
		all := slices.Clone(r.Pulse.Probes)
		for i, p := range all {
			if p.Kind == "generate" && p.Path == "" {
				all[i].Path = witnessPath
			}
		}
		return all
	}
	p := DefaultPulseProbe()
	p.Kind, p.Path = r.Probe.Kind, r.Probe.Path
	if r.Probe.Timeout > 0 {
		p.Timeout = r.Probe.Timeout
	}
	return []PulseProbe{p}
}

// Witness is the question that tells a worker that hangs from one that is busy, asked only while streams are open and
// none gets a byte: a token costs time of the GPU. It is the first generate probe of the settings, if there is one.
func (r Run) Witness() PulseProbe {
	for _, p := range r.PulseProbes() {
		if p.Kind == "generate" {
			return p
		}
	}
	p := DefaultPulseProbe()
	p.Kind, p.Path, p.Rise = "generate", witnessPath, 1
	p.Timeout = 30 * time.Second // a full batch lets it wait
	return p
}
