package config

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Engine is the kind of inference server that a worker is.
type Engine string

// The engines.
const (
	EngineAuto Engine = "auto" // as the command looks
	VLLM       Engine = "vllm"
	SGLang     Engine = "sglang"
	LlamaCpp   Engine = "llamacpp"
	Generic    Engine = "generic" // anything else
)

// preset is what is known of an engine, and so holds where a person said nothing. Where it comes from is said in
// docs/configuration.md.
type preset struct {
	probe        string
	probeTimeout time.Duration
	stopGrace    time.Duration
	replay       []string
	workerIdle   time.Duration
	memoryFlag   string // of the engine, that takes a share of each GPU's memory; empty: it has none
}

// openAI are the ends of the paths that all engines of this list have, and that compute the same again.
var openAI = []string{"/chat/completions", "/completions", "/embeddings", "/generate"}

func presetOf(e Engine) preset {
	switch e {
	case VLLM:
		return preset{
			probe: "http:/health", probeTimeout: 10 * time.Second, stopGrace: 30 * time.Second,
			replay:     append(slices.Clone(openAI), "/pooling", "/classify", "/score", "/rerank", "/tokenize", "/detokenize"),
			workerIdle: 2 * time.Second, // uvicorn's keep-alive is 5 s
			memoryFlag: "--gpu-memory-utilization",
		}
	case SGLang:
		return preset{
			probe: "http:/health", probeTimeout: 25 * time.Second, // it makes a token for the answer, and gives up after 20 s
			stopGrace:  45 * time.Second, // it looks every 5 s whether all is done, and then ends its children
			replay:     append(slices.Clone(openAI), "/encode", "/classify", "/score", "/rerank", "/tokenize", "/detokenize"),
			workerIdle: 2 * time.Second,
			memoryFlag: "--mem-fraction-static",
		}
	case LlamaCpp:
		return preset{
			probe: "http:/health", probeTimeout: 10 * time.Second,
			stopGrace:  10 * time.Second, // it drains nothing, so it is soon gone
			replay:     append(slices.Clone(openAI), "/completion", "/infill", "/embedding", "/reranking", "/rerank", "/tokenize", "/detokenize", "/apply-template"),
			workerIdle: 2 * time.Second, // cpp-httplib's keep-alive is 5 s
		}
	case Generic, EngineAuto:
		fallthrough
	default:
		return preset{
			probe: "tcp", probeTimeout: 10 * time.Second, stopGrace: 30 * time.Second,
			replay:     slices.Clone(openAI),
			workerIdle: time.Second, // the shortest that is usual among servers is gunicorn's, 2 s
		}
	}
}

// engine returns which engine it is: as was said, or as the command looks.
func (s Settings) engine() Engine {
	if s.Engine != EngineAuto {
		return s.Engine
	}
	switch {
	case s.runs("vllm"):
		return VLLM
	case s.runs("sglang"):
		return SGLang
	case s.runs("llama-server"):
		return LlamaCpp
	default:
		return Generic
	}
}

// runs reports whether the command starts the engine: by its own name, or as a module of an interpreter. The value of an
// option is no program: --served-model-name vllm.
func (s Settings) runs(engine string) bool {
	for i, word := range s.Command {
		switch {
		case i > 0 && strings.HasPrefix(s.Command[i-1], "-") && s.Command[i-1] != "-m" && s.Command[i-1] != "--":
		case filepath.Base(word) == engine, strings.HasPrefix(word, engine+"."):
			return true
		}
	}
	return false
}

// applyPresets puts in what the engine's presets say, where a person said nothing, and returns the keys that it did
// this for.
func (s *Settings) applyPresets() (keys []string) {
	p := presetOf(s.engine())
	for _, one := range []struct {
		key   string
		apply func()
	}{
		{"worker.probe", func() { s.Probe = p.probe }},
		{"worker.probe_timeout", func() { s.ProbeTimeout = p.probeTimeout }},
		{"worker.stop_grace", func() { s.StopGrace = p.stopGrace }},
		{"replay.paths", func() { s.Replay.Paths = p.replay }},
		{"limits.worker_idle", func() { s.Limits.WorkerIdle = p.workerIdle }},
	} {
		if !s.said(one.key) || one.key == "worker.probe" && s.Probe == ProbeAuto {
			one.apply()
			keys = append(keys, one.key)
		}
	}
	return keys
}
