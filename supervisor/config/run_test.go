package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var root = Host{UID: 0, Getenv: func(string) string { return "" }}

func user(env map[string]string) Host {
	return Host{UID: 1000, Getenv: func(name string) string { return env[name] }}
}

// with returns the defaults with a worker that has a known address, changed.
func with(change func(*Settings)) Settings {
	s := Defaults()
	s.Upstream = "127.0.0.1:8001"
	if change != nil {
		change(&s)
	}
	return s
}

func TestDefaultsAreGood(t *testing.T) {
	got, err := with(nil).Resolve(root)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultParts()
	want.Name = "default"
	want.Fronts = []Front{DefaultFront(":8000")}
	want.Upstream = Address{Network: "tcp", Addr: "127.0.0.1:8001"}
	want.Control = "/run/autoglm-sidecar/default.sock"
	want.HTTP = "127.0.0.1:9700"
	want.Drain, want.Hold = 2*time.Minute, 17*time.Minute
	want.StartDeadline, want.StopGrace = 15*time.Minute, 30*time.Second
	want.Heartbeat = 10 * time.Second
	want.Probe = Probe{Kind: "tcp", Timeout: 10 * time.Second}
	want.Engine = Generic
	want.Limits.WorkerIdle = time.Second
	got.Shown = Shown{}
	want.State = "/var/lib/autoglm-sidecar/default"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("defaults (-want +got):\n%s", d)
	}
	if got, want := got.WorkerSocket(), "/run/autoglm-sidecar/default.worker.sock"; got != want {
		t.Errorf("worker socket is %s, want %s", got, want)
	}
}

func TestEachRuleIsToldWithWhatToWrite(t *testing.T) {
	long := "/" + strings.Repeat("x", 110)
	for _, c := range []struct {
		change func(*Settings)
		want   string
	}{
		{func(s *Settings) { s.Name = "GPU_0" }, `--name "GPU_0": a name has 1 to 32 characters of a-z, 0-9 and -`},
		{func(s *Settings) { s.Name = "" }, `--name a name has 1 to 32 characters of a-z, 0-9 and -`},
		{func(s *Settings) { s.Name = strings.Repeat("a", 33) }, `1 to 32 characters`},
		{func(s *Settings) { s.Name = "../x" }, `1 to 32 characters`},
		{func(s *Settings) { s.Listen = []string{"8000"} }, `--listen "8000": write :8000`},
		{func(s *Settings) { s.Listen = []string{"here"} }, `--listen "here": must be HOST:PORT`},
		{func(s *Settings) { s.Listen = []string{":70000"} }, `"70000" is no port`},
		{func(s *Settings) { s.Listen = []string{"300.0.0.1:80"} }, `"300.0.0.1" is no IP address`},
		{func(s *Settings) { s.Listen = []string{"a b:80"} }, `"a b" is no host name`},
		{func(s *Settings) { s.Listen = nil }, `--listen is where clients connect, and there is none; write --listen :8000`},
		{func(s *Settings) { s.Listen = []string{":1", ":2", ":3", ":4", ":5"} }, `--listen is there 5 times: at most 4`},
		{func(s *Settings) { s.Listen = []string{":8000", "10.0.0.7:8000"} }, `--listen "10.0.0.7:8000": --listen :8000 accepts there already`},
		{func(s *Settings) { s.Listen = []string{"unix:/f", ":8000", "unix:/../f"} }, `--listen "unix:/../f": --listen unix:/f accepts there already`},
		{func(s *Settings) { s.Listen = []string{"/run/f.sock"} }, `a socket is written unix:/run/f.sock`},
		{func(s *Settings) { s.Listen = []string{"unix:"} }, `unix: needs a path`},
		{func(s *Settings) { s.Listen = []string{"unix:" + long} }, `has 111 bytes, and the path of a socket at most 107`},
		{func(s *Settings) { s.Listen, s.Control = []string{"unix:/c"}, "/c" }, `--listen "unix:/c": is the control socket`},
		{func(s *Settings) { s.Listen, s.Upstream = []string{":1", "unix:/w"}, "unix:/w" }, `--upstream "unix:/w": is what --listen unix:/w accepts on`},
		{func(s *Settings) {
			s.Listen, s.Upstream, s.Command = []string{"unix:/run/autoglm-sidecar/default.worker.sock"}, "", []string{"w", "{socket}"}
		}, `would go round for ever`},
		{func(s *Settings) { s.HTTP = "unix:/h" }, `--http "unix:/h": "/h" is no port`},
		{func(s *Settings) { s.HTTP = "9700" }, `--http "9700": write :9700`},
		{func(s *Settings) { s.HTTP = ":8000" }, `--http ":8000": is where --listen :8000 accepts clients; write --http :8001, or --http off`},
		{func(s *Settings) { s.Listen = []string{":9700"} }, `--http "127.0.0.1:9700": is where --listen :9700 accepts clients; write --http 127.0.0.1:9701, or --http off`},
		{func(s *Settings) { s.Listen, s.HTTP = []string{"10.0.0.7:65535"}, "0.0.0.0:65535" }, `write --http 0.0.0.0:65534, or --http off`},
		{func(s *Settings) { s.Listen, s.HTTP = []string{"127.0.0.1:80"}, "localhost:80" }, `write --http localhost:81`},
		{func(s *Settings) { s.Upstream = "http://127.0.0.1:8001/" }, `is a URL; write 127.0.0.1:8001`},
		{func(s *Settings) { s.Upstream = "https://gpu:8001" }, `TLS to a worker is not spoken`},
		{func(s *Settings) { s.Upstream = "/run/w.sock" }, `a socket is written unix:/run/w.sock`},
		{func(s *Settings) { s.Upstream = "unix:" }, `unix: needs a path`},
		{func(s *Settings) { s.Upstream = "unix:" + long }, `has 111 bytes, and the path of a socket at most 107`},
		{func(s *Settings) { s.Upstream = "127.0.0.1:0" }, `"0" is no port`},
		{func(s *Settings) { s.Upstream = "localhost:8000" }, `is what --listen :8000 accepts on`},
		{func(s *Settings) { s.Listen, s.Upstream = []string{"10.0.0.7:80"}, "10.0.0.7:80" }, `would go round for ever`},
		{func(s *Settings) { s.Drain = 0 }, `--drain 0: must be longer than 0`},
		{func(s *Settings) { s.StartDeadline = -1 }, `--start-deadline -1ns: must be longer than 0`},
		{func(s *Settings) { s.StopGrace = 0 }, `--stop-grace 0: must be longer than 0`},
		{func(s *Settings) { s.Heartbeat = time.Millisecond }, `--heartbeat 1ms: must be 0 (none) or at least 100ms`},
		{func(s *Settings) { s.Hold = "long" }, `--hold "long": must be auto (drain + start deadline), 0 (refuse at once) or a time`},
		{func(s *Settings) { s.Hold = "-1s" }, `--hold "-1s"`},
		{func(s *Settings) { s.Probe = "grpc" }, `--probe "grpc": must be tcp or http:/PATH`},
		{func(s *Settings) { s.Probe = "http://127.0.0.1/health" }, `http: is followed by a path only`},
		{func(s *Settings) { s.Probe = "http:/a b" }, `without spaces`},
		{func(s *Settings) { s.Probe = "http:/a\r\nX: y" }, `without spaces`},
		{func(s *Settings) { s.Limits.Connections = 0 }, `--max-connections 0: must be between 1 and 65536`},
		{func(s *Settings) { s.Limits.Connections = 1 << 20 }, `--max-connections 1048576`},
		{func(s *Settings) { s.Control = long }, `has 111 bytes`},
		// The worker's socket lies beside it, under a longer name.
		{func(s *Settings) { s.Control = long[:100] + "/c" }, `.worker.sock has 120 bytes`},
		{func(s *Settings) { s.Command = []string{"w", "--port", "{port}"}; s.Upstream = "unix:/w" }, `write {socket}`},
		{func(s *Settings) { s.Command = []string{"w", "--uds", "{socket}"} }, `write {port}`},
		{func(s *Settings) { s.Command = []string{"w", "{port}", "{socket}"}; s.Upstream = "" }, `has both {port} and {socket}`},
	} {
		s := with(c.change)
		_, err := s.Resolve(root)
		problems, ok := errors.AsType[Problems](err)
		if !ok || len(problems) != 1 {
			t.Errorf("%+v: got %v, want one problem: %s", s, err, c.want)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("got  %s\nwant %s", err, c.want)
		}
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	s := Defaults()
	s.Name, s.Listen, s.Drain, s.Probe, s.Limits.Connections = "A", []string{"x"}, 0, "udp", -1
	_, err := s.Resolve(root)
	problems, _ := errors.AsType[Problems](err)
	var settings []string
	for _, p := range problems {
		name, _, _ := strings.Cut(p.Setting, " ")
		settings = append(settings, name)
	}
	want := []string{"--name", "--probe", "--drain", "--max-connections", "--listen", "--upstream"}
	if d := cmp.Diff(want, settings); d != "" {
		t.Errorf("settings told (-want +got):\n%s\n%v", d, err)
	}
	if !strings.HasPrefix(err.Error(), "6 settings are wrong:\n  --name") {
		t.Errorf("the error does not begin with the count:\n%v", err)
	}
}

func TestACommandWithoutAnAddressIsAnsweredWithTheLineToType(t *testing.T) {
	for _, c := range []struct {
		typed   string
		command string
		want    string
	}{
		{"", "vllm serve M", "autoglm-sidecar run -- vllm … --uds {socket}"},
		{"--name=gpu0 --drain=1m0s", "vllm serve M", "autoglm-sidecar run --name=gpu0 --drain=1m0s -- vllm … --uds {socket}"},
		{"", "python3 -m vllm.entrypoints.openai.api_server --model M", "autoglm-sidecar run -- python3 … --uds {socket}"},
		{"", "python3 -m vllm.entrypoints.openai.api_server --model M --port 8000", "autoglm-sidecar run -- python3 … --port {port}"},
		{"", "/opt/v/bin/vllm serve M --port=8000 -x", "autoglm-sidecar run -- vllm … --port={port} …"},
		{"", "vllm --port 8000 -x", "autoglm-sidecar run -- vllm --port {port} …"},
		{"", "TOKEN=x vllm serve M", "autoglm-sidecar run -- … --uds {socket}"},
		{"", "TOKEN=x ./serve", "autoglm-sidecar run --upstream 127.0.0.1:PORT -- …   (PORT: where the worker listens)"},
		{"", "python3 -m sglang.launch_server --model M", "autoglm-sidecar run -- python3 … --port {port}"},
		{"", "./llama-server -m M", "autoglm-sidecar run -- llama-server … --port {port}"},
		{"", "llama-server", "autoglm-sidecar run -- llama-server --port {port}"},
		{"", "./serve", "autoglm-sidecar run --upstream 127.0.0.1:PORT -- serve   (PORT: where the worker listens)"},
		{"--state=it's", "vllm", `autoglm-sidecar run '--state=it'\''s' -- vllm --uds {socket}`},
	} {
		s := Defaults()
		s.Typed, s.Command = strings.Fields(c.typed), strings.Fields(c.command)
		before := strings.Join(s.Command, " ")
		_, err := s.Resolve(root)
		problems, ok := errors.AsType[Problems](err)
		if !ok || len(problems) != 1 || len(problems[0].Type) != 1 {
			t.Errorf("%s: got %v, want one problem with one line to type", c.command, err)
			continue
		}
		got := problems[0].Type[0]
		if got != c.want {
			t.Errorf("line to type\n got %s\nwant %s", got, c.want)
		}
		if after := strings.Join(s.Command, " "); after != before {
			t.Errorf("the command itself was changed to %s", after)
		}
	}
}

// An error ends in logs and on screens, and arguments and environments hold keys.
func TestNoWordOfTheCommandIsShown(t *testing.T) {
	const canary = "CANARY"
	for _, command := range [][]string{
		{"vllm", "serve", "M"},
		{"vllm", "serve", "M", "--port", "8000", "-x"},
		{"vllm", "--port=8000", "-x", "y"},
		{"env", "A=b", "python3", "-m", "sglang.launch_server"},
		{"./serve", "--api-key", "k", "--upstream", "x"},
		{"sh", "-c", "vllm serve M"},
		{"vllm", "serve", "{port}", "{socket}"},
	} {
		for at := range len(command) + 1 {
			for _, word := range []string{canary, "KEY=" + canary, "--api-key=" + canary, "/" + canary + "/x", "it's " + canary, "KEY=/a/" + canary} {
				s := Defaults()
				s.Command = slices.Insert(slices.Clone(command), at, word)
				if at == 0 && word != "/"+canary+"/x" && !strings.HasPrefix(word, "KEY=") {
					continue // the program's own name, which is shown
				}
				_, err := s.Resolve(root)
				if err == nil || strings.Contains(err.Error(), canary) {
					t.Errorf("%q is answered with %v", s.Command, err)
				}
				if shown := s.Line(Excerpt(s.Command)); strings.Contains(shown, canary) {
					t.Errorf("%q is shown as %s", s.Command, shown)
				}
			}
		}
	}
}

func TestNoWorkerAtAllIsAnsweredWithBothWays(t *testing.T) {
	_, err := Defaults().Resolve(root)
	want := `--upstream there is no worker to relay to; type one of:
    autoglm-sidecar run --upstream 127.0.0.1:8001
    autoglm-sidecar run -- vllm serve MODEL --uds {socket}`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestPlaceholdersAreFilledWhereTheAddressIsKnown(t *testing.T) {
	for _, c := range []struct {
		upstream string
		command  string
		want     string
		at       string
	}{
		{"", "w --port {port}", "w --port {port}", ""}, // anew each life
		{"", "w --uds {socket}", "w --uds /run/autoglm-sidecar/default.worker.sock", "unix:/run/autoglm-sidecar/default.worker.sock"},
		{"127.0.0.1:8001", "w --port={port} --json {\"port\":1}", "w --port=8001 --json {\"port\":1}", "127.0.0.1:8001"},
		{"unix:/run/w.sock", "w --uds {socket}", "w --uds /run/w.sock", "unix:/run/w.sock"},
		{"127.0.0.1:8001", "w", "w", "127.0.0.1:8001"},
	} {
		s := Defaults()
		s.Upstream, s.Command = c.upstream, strings.Fields(c.command)
		r, err := s.Resolve(root)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if got := strings.Join(r.Command, " "); got != c.want || r.Upstream.String() != c.at {
			t.Errorf("--upstream %q -- %s: worker at %s as %s, want at %s as %s", c.upstream, c.command, r.Upstream, got, c.at, c.want)
		}
	}
}

func TestHoldAndHTTP(t *testing.T) {
	for text, want := range map[string]time.Duration{"auto": 17 * time.Minute, "0": 0, "90s": 90 * time.Second} {
		r, err := with(func(s *Settings) { s.Hold = text }).Resolve(root)
		if err != nil || r.Hold != want {
			t.Errorf("--hold %s gives %v, %v; want %v", text, r.Hold, err, want)
		}
	}
	for listen, http := range map[string]string{":0": ":0", "127.0.0.1:80": "[::1]:80", "0.0.0.0:80": "[::1]:80", "10.0.0.7:80": "10.0.0.8:80"} {
		if _, err := with(func(s *Settings) { s.Listen, s.HTTP = []string{listen}, http }).Resolve(root); err != nil {
			t.Errorf("--listen %s --http %s: both can be had, and the answer is %v", listen, http, err)
		}
	}
	for text, want := range map[string]string{"off": "", "": "", ":9701": ":9701", "[::1]:9701": "[::1]:9701"} {
		r, err := with(func(s *Settings) { s.HTTP = text }).Resolve(root)
		if err != nil || r.HTTP != want {
			t.Errorf("--http %s gives %q, %v; want %q", text, r.HTTP, err, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]Address{
		":8001":            {"tcp", "127.0.0.1:8001"},
		"worker.local:80":  {"tcp", "worker.local:80"},
		"vllm_1:80":        {"tcp", "vllm_1:80"},
		"[::1]:8001":       {"tcp", "[::1]:8001"},
		"unix:/run/w.sock": {"unix", "/run/w.sock"},
	} {
		got, err := ParseAddress(text)
		if err != nil || got != want {
			t.Errorf("%s gives %v, %v; want %v", text, got, err, want)
		}
		if again, err := ParseAddress(got.String()); err != nil || again != got {
			t.Errorf("%v, written and read again, gives %v, %v", got, again, err)
		}
	}
	for _, text := range []string{"", "x", "host:", "host:-1", "host:65536", "[::1", "[::g]:1", "a/b:1"} {
		if got, err := ParseAddress(text); err == nil {
			t.Errorf("%q was read as %v, want an error", text, got)
		}
	}
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		name           string
		host           Host
		control, state string // paths, or a part of the problem
	}{
		{"root", root, "/run/autoglm-sidecar/default.sock", "/var/lib/autoglm-sidecar/default"},
		{
			"root ignores the session's directories",
			Host{UID: 0, Getenv: func(string) string { return "/session" }},
			"/run/autoglm-sidecar/default.sock", "/var/lib/autoglm-sidecar/default",
		},
		{
			"a user's session", user(map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000", "HOME": "/home/u"}),
			"/run/user/1000/autoglm-sidecar/default.sock", "/home/u/.local/state/autoglm-sidecar/default",
		},
		{
			"a user with a state directory", user(map[string]string{"XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s", "HOME": "/h"}),
			"/r/autoglm-sidecar/default.sock", "/s/autoglm-sidecar/default",
		},
	} {
		r, err := with(nil).Resolve(c.host)
		if err != nil || r.Control != c.control || r.State != c.state {
			t.Errorf("%s: got %s and %s, %v; want %s and %s", c.name, r.Control, r.State, err, c.control, c.state)
		}
	}

	_, err := with(nil).Resolve(user(map[string]string{"XDG_RUNTIME_DIR": "relative"}))
	problems, _ := errors.AsType[Problems](err)
	if len(problems) != 2 || !strings.Contains(err.Error(), "write --control PATH") || !strings.Contains(err.Error(), "write --state DIR") {
		t.Errorf("a user without any directory gets %v, want both options named", err)
	}
	r, err := with(func(s *Settings) { s.Control, s.State = "/c/x.sock", "/s" }).Resolve(user(nil))
	if err != nil || r.Control != "/c/x.sock" || r.State != "/s" || r.RuntimeDir() != "/c" {
		t.Errorf("paths that were given are not taken as they are: %+v, %v", r, err)
	}
}

func TestControlPathsAreTheUsersOwnFirst(t *testing.T) {
	session := user(map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000"})
	for _, c := range []struct {
		host Host
		want []string
	}{
		{root, []string{"/run/autoglm-sidecar/a.sock"}},
		{session, []string{"/run/user/1000/autoglm-sidecar/a.sock", "/run/autoglm-sidecar/a.sock"}},
		{user(nil), []string{"/run/autoglm-sidecar/a.sock"}},
		{Host{UID: 0, Root: "/elsewhere"}, []string{"/elsewhere/run/autoglm-sidecar/a.sock"}},
	} {
		if d := cmp.Diff(c.want, ControlPaths("a", c.host)); d != "" {
			t.Errorf("control paths (-want +got):\n%s", d)
		}
	}
}
