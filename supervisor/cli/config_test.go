package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"autoglm-sidecar/supervisor/config"
)

func writeFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConfigCheck(t *testing.T) {
	good := writeFile(t, "drain: 3m\nworker: {command: [vllm, serve, M, --uds, '{socket}', --api-key, CANARY], environment: {HF_TOKEN: CANARY}}\n")
	bad := writeFile(t, "dran: 3m\nheartbeat: 5\nworker: {upstream: ':1'}\n")
	bare := writeFile(t, "drain: 3m\n")
	for _, c := range []struct {
		args []string
		code int
		want []string // parts of what is said
	}{
		{[]string{"check", good}, exitDone, []string{"ok\n", "vllm serve M --uds /run/u/autoglm-sidecar/default.worker.sock --api-key REDACTED (engine vllm)", "when http:/health passes"}},
		{[]string{"check", good, "--json"}, exitDone, []string{`"drain": "3m"`, `"worker.probe": "default of engine vllm"`}},
		{[]string{"check", bad}, exitUsage, []string{"2 settings are wrong:", bad + ":1:1: dran is no key; did you mean drain?", bad + ":2:12: heartbeat \"5\": has no unit"}},
		{[]string{"check", bare, "--", "w", "{port}"}, exitDone, []string{"w {port} (engine generic)", "a free port, anew each life"}},
		{[]string{"check", good, "--", "w", "{port}"}, exitUsage, []string{"leave one of them away"}},
		{[]string{"check", "/nowhere/f.yaml"}, exitUsage, []string{"read the settings: /nowhere/f.yaml: no such file or directory"}},
		{[]string{"check", "/"}, exitUsage, []string{"read the settings: /: is a directory"}},
		{[]string{"check"}, exitUsage, []string{"one FILE is needed"}},
		{[]string{"show", good}, exitDone, []string{"drain: 3m # " + good + ":1\n", "HF_TOKEN: REDACTED", "heartbeat: 10s # default\n"}},
		{[]string{"show"}, exitNotRunning, []string{"no sidecar is running"}},
		{[]string{"schema"}, exitDone, []string{"2020-12"}},
	} {
		got := say(t, "/run/u", append([]string{"config"}, c.args...)...)
		all := got.out + got.errors
		for _, want := range c.want {
			if got.code != c.code || !strings.Contains(all, want) {
				t.Errorf("config %s\n ends with %d and says %s\nwant %d and %s", strings.Join(c.args, " "), got.code, all, c.code, want)
			}
		}
		if strings.Contains(all, "CANARY") {
			t.Errorf("config %s shows a secret:\n%s", strings.Join(c.args, " "), all)
		}
	}
}

func TestConfigShowOfARunningSidecar(t *testing.T) {
	dir := running(t, &fake{})
	if got := say(t, dir, "config", "show"); got.code != exitDone || got.out != "name: a # default\n" {
		t.Errorf("got %+v", got)
	}
	if got := say(t, dir, "config", "show", "--json"); !strings.Contains(got.out, `"name": "default"`) {
		t.Errorf("as JSON: %+v", got)
	}
}

// Each option of run is a key of the file, with one help and one default.
func TestRunTakesTheFileAndItsOptions(t *testing.T) {
	help := say(t, "/nowhere", "run", "--help").out
	s := config.Defaults()
	for _, f := range config.Flags(&s) {
		if !strings.Contains(help, "--"+f.Name+" ") || !strings.Contains(help, strings.ReplaceAll(f.Help, "`", "")) {
			t.Errorf("run --help lacks --%s: %s", f.Name, f.Help)
		}
	}
	file := writeFile(t, "name: A\ndrain: 1m\nworker: {command: [w, '{port}']}\n")
	got := say(t, "/run/u", "run", "--config", file, "--drain", "0s")
	if want := "2 settings are wrong:\n  " + file + ":1:7: name \"A\": a name has 1 to 32 characters of a-z, 0-9 and -\n  --drain 0: must be longer than 0\n"; got.code != exitUsage || !strings.HasSuffix(got.errors, want) {
		t.Errorf("got %d, %s\nwant %s", got.code, got.errors, want)
	}
	if got := say(t, "/run/u", "run", "--config", "/nowhere/f"); got.code != exitUsage || !strings.Contains(got.errors, "no such file") {
		t.Errorf("a file that is not there: %+v", got)
	}
}
