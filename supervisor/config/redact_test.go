package config

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const canary = "CaNaRy7x"

// secretNames are names as they are found in the wild.
var secretNames = []string{
	"api-key", "api_key", "apikey", "API_KEY", "x-api-key", "X-Api-Key", "token", "hf-token", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "hfToken",
	"secret", "client_secret", "AWS_SECRET_ACCESS_KEY", "password", "PGPASSWORD", "passwd", "db.password", "ssl-keyfile-password", "passphrase",
	"Authorization", "authorization", "Proxy-Authorization", "access_token", "refreshToken", "session_token", "private-key", "credentials",
	"Cookie", "VLLM_API_KEY", "OPENAI_API_KEY", "WANDB_API_KEY", "SGLANG_ADMIN_KEY", "admin-api-key", "MYTOKENX", "XKEYX", "tokens", "api_tokens",
}

// plantings are the positions in a command where a secret may stand: each returns words with the canary beside a name.
var plantings = map[string]func(name string) []string{
	"option and value":        func(n string) []string { return []string{"--" + n, canary} },
	"option with =":           func(n string) []string { return []string{"--" + n + "=" + canary} },
	"option with one dash":    func(n string) []string { return []string{"-" + n, canary} },
	"option with :":           func(n string) []string { return []string{"--" + n + ":" + canary} },
	"several values":          func(n string) []string { return []string{"--" + n, "one", canary, "three"} },
	"a value like an option":  func(n string) []string { return []string{"--" + n, "-" + canary} },
	"an empty value first":    func(n string) []string { return []string{"--" + n + "=", canary} },
	"variable":                func(n string) []string { return []string{n + "=" + canary} },
	"variable of env":         func(n string) []string { return []string{"env", n + "=" + canary, "vllm"} },
	"variable of docker":      func(n string) []string { return []string{"-e", n + "=" + canary} },
	"variable of docker, one": func(n string) []string { return []string{"--env=" + n + "=" + canary} },
	"a value with spaces":     func(n string) []string { return []string{n + "=a b " + canary} },
	"JSON":                    func(n string) []string { return []string{`{"` + n + `":"` + canary + `"}`} },
	"JSON, deep":              func(n string) []string { return []string{`{"a":[1,{"b":{"` + n + `": ["x","` + canary + `"]}}]}`} },
	"JSON in JSON": func(n string) []string {
		inner, _ := json.Marshal(`{"` + n + `":"` + canary + `"}`)
		return []string{`{"a":` + string(inner) + `}`}
	},
	"JSON, a name escaped":    func(n string) []string { return []string{fmt.Sprintf(`{"\u%04x%s":"%s"}`, n[0], n[1:], canary)} },
	"JSON, words of an array": func(n string) []string { return []string{`["--` + n + `","` + canary + `"]`} },
	"JSON behind an option":   func(n string) []string { return []string{"--config={\"" + n + "\": \"" + canary + "\"}"} },
	"JSON that is broken":     func(n string) []string { return []string{`{"` + n + `":"` + canary + `"`} },
	"Python's dict":           func(n string) []string { return []string{"{'" + n + "': ['" + canary + "']}"} },
	"Python's tuple":          func(n string) []string { return []string{"('" + n + "', '" + canary + "')"} },
	"header":                  func(n string) []string { return []string{"-H", n + ": " + canary} },
	"header, two words":       func(n string) []string { return []string{"-H", n + ":", canary} },
	"header with a scheme":    func(n string) []string { return []string{"--header", n + ": Bearer " + canary} },
	"header, three words":     func(n string) []string { return []string{n + ":", "Bearer", canary} },
	"a shell's line": func(n string) []string {
		return []string{"sh", "-c", "exec vllm serve M --" + n + " " + canary + " --port 1"}
	},
	"a shell's line, =":      func(n string) []string { return []string{"sh", "-c", "export " + n + "=" + canary + "; vllm"} },
	"a shell's line, quotes": func(n string) []string { return []string{"bash", "-lc", "vllm --" + n + "='a " + canary + "'"} },
	"a query":                func(n string) []string { return []string{"http://h/p?a=b&" + n + "=" + canary} },
	"YAML":                   func(n string) []string { return []string{n + ": " + canary} },
	"two bare words":         func(n string) []string { return []string{"set", n, canary} },
	"two lines":              func(n string) []string { return []string{n + "=\n" + canary} },
	"user of a URL":          func(string) []string { return []string{"--url", "https://user:" + canary + "@host/path"} },
	"user of a URL, a slash": func(string) []string { return []string{"postgres://u:p/" + canary + "@host"} },
	"user without a URL":     func(string) []string { return []string{"--proxy", "user:" + canary + "@host:1"} },
	"curl's user":            func(string) []string { return []string{"-u", "me:" + canary} },
	"a scheme":               func(string) []string { return []string{"--extra", "Bearer " + canary} },
	"a scheme, encoded":      func(string) []string { return []string{"x=Basic%20" + canary} },
	"a token by its looks":   func(string) []string { return []string{"--extra", "hf_" + canary} },
	"a key by its looks":     func(string) []string { return []string{"sk-" + canary} },
	"PEM":                    func(string) []string { return []string{"-----BEGIN RSA PRIVATE KEY-----\n" + canary + "\n-----END"} },
}

func TestACanaryNeverShowsWhereverItIsPlanted(t *testing.T) {
	for position, plant := range plantings {
		for i, name := range secretNames {
			for _, around := range [][2][]string{{nil, nil}, {{"vllm", "serve", "M"}, {"--port", "8000"}}, {{"x", "--api-key"}, {"y"}}} {
				command := slices.Concat(around[0], plant(name), around[1])
				shown := RedactCommand(command)
				if len(shown) != len(command) || strings.Contains(strings.Join(shown, " "), canary) {
					t.Errorf("%s: %q is shown as %q", position, command, shown)
				}
				if around[0] == nil || i%6 != 0 {
					continue
				}
				// The same in a file, all the way. A few names will do: it is one function.
				r, err := read("worker: {upstream: '127.0.0.1:1', command: " + jsonOf(command) + "}")
				if err == nil && (strings.Contains(r.Shown.Text, canary) || strings.Contains(string(r.Shown.Settings), canary)) {
					t.Errorf("%s: config show shows %s", position, r.Shown.Text)
				}
				if err != nil && strings.Contains(err.Error(), canary) {
					t.Errorf("%s: an error shows %v", position, err)
				}
			}
		}
	}
}

func jsonOf(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

func TestVariablesAreShownByTheirNames(t *testing.T) {
	for _, name := range secretNames {
		if got := RedactVariable(name, canary); got != Hidden {
			t.Errorf("%s=%s is shown as %s", name, canary, got)
		}
	}
	for entry, want := range map[string]string{
		"CUDA_VISIBLE_DEVICES=0,1": "0,1", "PATH=/bin:/usr/bin": "/bin:/usr/bin", "VLLM_ATTENTION_BACKEND=FLASH": "FLASH", "KEY=": "",
		"MAX_TOKENS=3000": "3000", "MAX_TOKENS=x3000": Hidden, "HTTPS_PROXY=http://u:" + canary + "@p:1": "http://" + Hidden + "@p:1",
		"GRPC_KEEPALIVE_TIME_MS=10000": "10000", "TOKENIZERS_PARALLELISM=false": "false",
	} {
		name, value, _ := strings.Cut(entry, "=")
		if got := RedactVariable(name, value); got != want {
			t.Errorf("%s is shown as %q, want %q", entry, got, want)
		}
	}
}

// What is no secret stays, or nobody could work with what is shown.
func TestWhatIsNoSecretIsShown(t *testing.T) {
	for _, line := range []string{
		"vllm serve zai-org/AutoGLM-Phone-9B --max-model-len 25480 --port {port} --uds {socket} --gpu-memory-utilization 0.80",
		"python3 -m sglang.launch_server --model-path M --tokenizer-path /models/tokenizer.json --tokenizer-mode auto --skip-tokenizer-init",
		"vllm --max-num-batched-tokens 8192 --max-tokens=3000 --port 1 --enable-prefix-caching",
		`vllm --limit-mm-per-prompt {"image":10} --mm_processor_kwargs {"max_pixels":5000000}`,
		"llama-server -m /models/x.gguf --host /run/w.sock -c 4096",
	} {
		if got := strings.Join(RedactCommand(strings.Fields(line)), " "); got != line {
			t.Errorf("%s\nis shown as\n%s", line, got)
		}
	}
	for _, text := range []string{
		"CUDA out of memory. Tried to allocate 2.00 GiB", "KeyError: 'model.layers.0'", "Avg prompt throughput: 12.0 tokens/s, Running: 3 reqs",
		"loaded tokenizer from /models/x", "max_num_batched_tokens=8192, dtype=bfloat16", "127.0.0.1:8001: connection refused",
	} {
		if got := Redact(text); got != text {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
}

// Engines print their arguments by names of their own, so the values that are known are looked for.
func TestKnownSecretsAreFoundByThemselves(t *testing.T) {
	r := NewRedactor(
		[]string{"vllm", "serve", "M", "--api-key", "first-one", "--json", `{"hf_token":"second-one"}`, "sh -c 'TOKEN=third-one x'", "http://u:fourth-one@h"},
		[]string{"HF_TOKEN=fifth-one", "HOME=/root", "SHORT_KEY=ab"})
	text := r.Text("args first-one second-one|third-one fourth-one <fifth-one> /root ab serve")
	if want := strings.Repeat(Hidden+" ", 2); strings.Contains(text, "-one") || !strings.Contains(text, "/root ab serve") {
		t.Errorf("got %s (%s)", text, want)
	}
}

// FuzzCanary plants a secret in a random position among random words. Whatever stands around it, it never shows.
func FuzzCanary(f *testing.F) {
	f.Add(uint64(1), "vllm serve", "--port 8000")
	f.Add(uint64(2), `{"a": "`, `"}`)
	f.Add(uint64(3), "--tokenizer", "[")
	positions := slices.Sorted(func(yield func(string) bool) {
		for p := range plantings {
			if !yield(p) {
				return
			}
		}
	})
	f.Fuzz(func(t *testing.T, seed uint64, before, after string) {
		random := rand.New(rand.NewPCG(seed, 0))
		position := positions[random.IntN(len(positions))]
		name := secretNames[random.IntN(len(secretNames))]
		command := slices.Concat(strings.Fields(before), plantings[position](name), strings.Fields(after))
		shown := RedactCommand(command)
		if strings.Contains(strings.Join(shown, " "), canary) && !strings.Contains(before+after, canary) {
			t.Errorf("%s: %q is shown as %q", position, command, shown)
		}
		// In one text, as a line of a log: words that go by their neighbour alone are lost there, so only those that don't.
		text := before + " " + name + "=" + canary + " " + after
		if got := NewRedactor([]string{"--" + name, canary}, nil).Text(text); strings.Contains(got, canary) && !strings.Contains(before+after, canary) {
			t.Errorf("%q is shown as %q", text, got)
		}
	})
}
