package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheEngineIsSeenInTheCommand(t *testing.T) {
	for command, want := range map[string]Engine{
		"vllm serve M": VLLM, "/opt/v/bin/vllm serve M": VLLM, "python3 -m vllm.entrypoints.openai.api_server": VLLM, "env A=b /opt/bin/vllm serve M": VLLM,
		"numactl -N 0 vllm serve M": VLLM, "python -m sglang.launch_server": SGLang, "sglang serve M": SGLang, "./llama-server -m x": LlamaCpp,
		"./serve --served-model-name vllm": Generic, "./serve": Generic, "sh -c 'vllm serve'": Generic, "": Generic,
	} {
		s := Defaults()
		s.Command = strings.Fields(command)
		if got := s.engine(); got != want {
			t.Errorf("%q is taken for %s, want %s", command, got, want)
		}
	}
}

func TestPresetsHoldWhereNothingWasSaid(t *testing.T) {
	for _, c := range []struct {
		file    string
		probe   string
		timeout time.Duration
		grace   time.Duration
		idle    time.Duration
		replay  string // one of the paths
		origin  string // of the probe
	}{
		{"worker: {command: [vllm, '{port}']}", "http:/health", 10 * time.Second, 30 * time.Second, 2 * time.Second, "/score", "default of engine vllm"},
		{"worker: {command: [sglang, '{port}']}", "http:/health", 25 * time.Second, 45 * time.Second, 2 * time.Second, "/encode", "default of engine sglang"},
		{"worker: {command: [llama-server, '{port}']}", "http:/health", 10 * time.Second, 10 * time.Second, 2 * time.Second, "/infill", "default of engine llamacpp"},
		{"worker: {command: [w, '{port}']}", "tcp", 10 * time.Second, 30 * time.Second, time.Second, "/generate", "default of engine generic"},
		{"engine: generic\nworker: {command: [vllm, '{port}']}", "tcp", 10 * time.Second, 30 * time.Second, time.Second, "/generate", "default of engine generic"},
		{"engine: vllm\nworker: {upstream: ':1'}", "http:/health", 10 * time.Second, 30 * time.Second, 2 * time.Second, "/score", "default of engine vllm"},
		{
			"replay: {paths: [/mine]}\nlimits: {worker_idle: 0}\nworker: {command: [vllm, '{port}'], probe: tcp, probe_timeout: 1s, stop_grace: 2s}",
			"tcp", time.Second, 2 * time.Second, 0, "/mine", "f.yaml:3",
		},
		{"worker: {command: [vllm, '{port}'], probe: auto}", "http:/health", 10 * time.Second, 30 * time.Second, 2 * time.Second, "/score", "default of engine vllm"},
	} {
		r, err := read(c.file)
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if r.Probe.String() != c.probe || r.Probe.Timeout != c.timeout || r.StopGrace != c.grace || r.Limits.WorkerIdle != c.idle || !slices.Contains(r.Replay.Paths, c.replay) {
			t.Errorf("%s\n gives %v, %v, %v, %v, %v", c.file, r.Probe, r.Probe.Timeout, r.StopGrace, r.Limits.WorkerIdle, r.Replay.Paths)
		}
		if got := r.Shown.From["worker.probe"]; got != c.origin {
			t.Errorf("%s: the probe comes from %q, want %q", c.file, got, c.origin)
		}
	}
}

func TestAShareOfTheMemoryBecomesTheEnginesOwnOption(t *testing.T) {
	for _, c := range []struct {
		command string // {port} is put behind it
		share   string
		want    string // at the end of the command
		note    string // a part of it
	}{
		{"vllm serve M", "80%", "--gpu-memory-utilization 0.80", ""},
		{"vllm serve M", "92.5%", "--gpu-memory-utilization 0.925", ""},
		{"python -m sglang.launch_server", "100%", "--mem-fraction-static 1.00", ""},
		{"vllm serve M --gpu-memory-utilization 0.7", "80%", "{port}", ""},
		{"vllm serve M --gpu-memory-utilization=0.8", "80%", "{port}", ""},
		{"vllm serve M --gpu-memory-utilization 0.95", "80%", "{port}", "f.yaml:1:98: worker.memory_share: the command itself says --gpu-memory-utilization 0.95, which is more than 80%; the command's holds"},
		{"vllm serve M --gpu_memory_utilization=0.95", "80%", "{port}", "which is more than 80%"},
		{"vllm serve M --gpu-memory-util 0.95", "80%", "{port}", "which is more than 80%"},
		{"vllm serve M --gpu-memory-utilization 0.95 --gpu-memory-utilization 0.5", "80%", "{port}", ""},
		{"sglang serve --mem-fraction-static 0.9", "50%", "{port}", "--mem-fraction-static 0.9"},
		{"vllm serve M --gpu-memory-utilization most", "80%", "{port}", "what is no number"},
		{"llama-server", "80%", "{port}", "llamacpp has no option for it: the worker gets CUDA_MEMORY_LIMIT=80%, and nothing holds it to that"},
		{"w", "80%", "{port}", "generic has no option for it"},
	} {
		command := append(strings.Fields(c.command), "{port}")
		r, err := read("worker: {command: " + jsonOf(command) + ", memory_share: " + c.share + "}")
		if err != nil {
			t.Errorf("%s: %v", c.command, err)
			continue
		}
		if got := strings.Join(r.Command, " "); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s with %s became\n%s", c.command, c.share, got)
		}
		if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, c.note) || (c.note == "") != (notes == "") {
			t.Errorf("%s with %s is noted as %q, want %q", c.command, c.share, notes, c.note)
		}
		if !slices.Contains(r.WorkerEnvironment(nil), "CUDA_MEMORY_LIMIT="+c.share) {
			t.Errorf("%s: the environment is %v", c.command, r.WorkerEnvironment(nil))
		}
	}
}

func TestTheWorkersEnvironment(t *testing.T) {
	ours := []string{"PATH=/bin", "HOME=/root", "USER=root", "XDG_RUNTIME_DIR=/run/user/0", "NOTIFY_SOCKET=/n", "A=ours", "GRPC_KEEPALIVE_TIME_MS=5"}
	for _, c := range []struct {
		what string
		run  Run
		ours []string
		want []string
	}{
		{"nothing said", Run{}, ours[:5], []string{"PATH=/bin", "HOME=/root", "USER=root", "XDG_RUNTIME_DIR=/run/user/0", "GRPC_KEEPALIVE_TIME_MS=10000"}},
		{"what we have comes before what is usual", Run{}, ours[6:], []string{"GRPC_KEEPALIVE_TIME_MS=5"}},
		{
			"what was said comes before all",
			Run{Environment: map[string]string{"A": "said", "GRPC_KEEPALIVE_TIME_MS": "1", "CUDA_MEMORY_LIMIT": "1g"}, MemoryShare: 0.5},
			ours[5:],
			[]string{"A=said", "CUDA_MEMORY_LIMIT=1g", "GRPC_KEEPALIVE_TIME_MS=1"},
		},
		{
			"another user has another home",
			Run{User: Account{Name: "u", Home: "/home/u"}},
			ours[:5],
			[]string{"PATH=/bin", "GRPC_KEEPALIVE_TIME_MS=10000", "HOME=/home/u", "LOGNAME=u", "USER=u"},
		},
		{
			"unless that was said",
			Run{User: Account{Name: "u", Home: "/home/u"}, Environment: map[string]string{"HOME": "/h"}},
			ours[:1],
			[]string{"PATH=/bin", "GRPC_KEEPALIVE_TIME_MS=10000", "LOGNAME=u", "USER=u", "HOME=/h"},
		},
	} {
		if got := c.run.WorkerEnvironment(c.ours); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.what, got, c.want)
		}
	}
}

func TestOnlyRootRunsAWorkerAsSomebodyElse(t *testing.T) {
	s := Defaults()
	s.Read("f.yaml", []byte("worker: {command: [w, '{socket}'], user: nobody}\ncontrol: /c/x.sock\nstate: /s\n"))
	if r, err := s.Resolve(testHost); err != nil || r.User.UID != 65534 || r.Upstream.Addr != "/c/default.worker/worker.sock" {
		t.Errorf("for root: %+v, %v", r.User, err)
	}
	_, err := s.Resolve(user(nil))
	if want := `f.yaml:1:42: worker.user "nobody": only root can run a worker as somebody else; leave it away, or run the sidecar as root`; err == nil || err.Error() != want {
		t.Errorf("for others: %v, want %s", err, want)
	}
}
