package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPulseProbesOfEachEngine(t *testing.T) {
	for _, test := range []struct {
		engine  Engine
		probe   string
		timeout time.Duration
	}{
		{VLLM, "http:/health", 10 * time.Second},
		{SGLang, "http:/health", 25 * time.Second},
		{LlamaCpp, "http:/health", 10 * time.Second},
		{Generic, "tcp", 10 * time.Second},
	} {
		s := Defaults()
		s.Engine, s.Upstream = test.engine, "127.0.0.1:8001"
		r, err := s.Resolve(Host{Getenv: func(string) string { return "" }})
		if err != nil {
			t.Fatal(err)
		}
		got := r.PulseProbes()
		if len(got) != 1 || got[0].String() != test.probe || got[0].Timeout != test.timeout || got[0].Fall != 3 || got[0].Interval != 10*time.Second {
			t.Errorf("%s is asked %+v, want %s within %v", test.engine, got, test.probe, test.timeout)
		}
		if w := r.Witness(); w.String() != "generate:/v1/completions" || w.Timeout != 30*time.Second || w.Rise != 1 {
			t.Errorf("%s has the witness %+v", test.engine, w)
		}
	}
}

func TestPulseProbesOfTheSettings(t *testing.T) {
	var r Run
	r.Probe = Probe{Kind: "http", Path: "/ready"}
	said := []PulseProbe{
		{Kind: "exec", Command: []string{"nvidia-smi", "-L"}, Interval: time.Minute},
		{Kind: "generate", Model: "m", Interval: time.Minute},
	}
	r.Pulse.Probes = said
	got := r.PulseProbes()
	if len(got) != 2 || got[0].String() != "exec:nvidia-smi -L" || got[1].String() != "generate:/v1/completions" || said[1].Path != "" {
		t.Errorf("got %+v, and the settings are %+v", got, said)
	}
	if d := cmp.Diff(got[1], r.Witness()); d != "" {
		t.Errorf("the witness is another than the settings' own:\n%s", d)
	}
}
