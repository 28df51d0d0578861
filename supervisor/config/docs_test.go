package config

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEachKeyIsInTheDocsWithItsDefault(t *testing.T) {
	content, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{} // default by key
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_.\\[\\]]+)` \\| (.*?) ?\\|").FindAllStringSubmatch(string(content), -1) {
		if _, twice := rows[row[1]]; !twice { // the presets' table comes later
			rows[row[1]] = row[2]
		}
	}
	d := Defaults()
	probe, front := DefaultPulseProbe(), DefaultFront("")
	known := map[string]bool{}
	keys().each("", func(path string, k key) {
		known[path] = true
		said, there := rows[path]
		if !there {
			t.Errorf("docs/configuration.md has no row of %s", path)
			return
		}
		form, isScalar := k.form.(scalar)
		if !isScalar {
			return
		}
		var holder reflect.Value
		switch {
		case strings.HasPrefix(path, "pulse.probes[]"):
			holder = reflect.ValueOf(probe)
		case strings.HasPrefix(path, "fronts[]"):
			holder = reflect.ValueOf(front)
		case strings.HasPrefix(path, "windows[]"):
			holder = reflect.ValueOf(DefaultWindow())
		default:
			_, holder, _ = find(keys(), path, reflect.ValueOf(&d).Elem())
		}
		want := ""
		if text := form.text(k.at(holder).Convert(form.typ).Interface()); text != "" {
			want = "`" + text + "`"
		}
		if said != want && said != "of the engine" {
			t.Errorf("docs/configuration.md says %q of the default of %s, which is %q", said, path, want)
		}
	})
	for path := range rows {
		if !known[path] && !strings.Contains(path, "replay") {
			t.Errorf("docs/configuration.md has a row of %s, which is no key", path)
		}
	}
}

func TestTheDocsNameThePresets(t *testing.T) {
	content, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(content), "## Presets")
	cells := func(row string) []string {
		_, rest, _ := strings.Cut(table, "\n| "+row)
		_, rest, _ = strings.Cut(rest, "|")
		line, _, _ := strings.Cut(rest, "\n")
		return strings.Split(line, "|")
	}
	for i, engine := range []Engine{VLLM, SGLang, LlamaCpp, Generic} {
		p := presetOf(engine)
		for row, want := range map[string]string{
			"`worker.probe` ": p.probe, "`worker.probe_timeout`": shortSpan(p.probeTimeout), "`worker.stop_grace`": shortSpan(p.stopGrace),
			"`limits.worker_idle`": shortSpan(p.workerIdle), "takes `worker.memory_share`": p.memoryFlag,
		} {
			if got := cells(row)[i]; !strings.Contains(got, want) {
				t.Errorf("the presets of %s: %s is %q in the docs, and %q", engine, row, got, want)
			}
		}
		for _, path := range p.replay {
			if got := cells("`replay.paths`")[i]; !strings.Contains(got, "`"+path+"`") && !slices.Contains(openAI, path) {
				t.Errorf("the presets of %s: replay.paths lack %s in the docs", engine, path)
			}
		}
	}
}

func TestTheSchemaInTheDocsIsTheOneOfTheTable(t *testing.T) {
	const file = "../../docs/config.schema.json"
	if *update {
		if err := os.WriteFile(file, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, Schema()) {
		t.Errorf("%s is not what config schema prints (%v); write it with: autoglm-sidecar config schema >docs/config.schema.json", file, err)
	}
	var schema map[string]any
	if err := json.Unmarshal(got, &schema); err != nil {
		t.Fatal(err)
	}
	if schema["$schema"] != "https://json-schema.org/draft/2020-12/schema" || schema["additionalProperties"] != false {
		t.Errorf("the schema begins with %v", schema["$schema"])
	}
}

func TestTheExampleIsGood(t *testing.T) {
	content, err := os.ReadFile("../../docs/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := read(string(content))
	if err != nil {
		t.Fatal(err)
	}
	if r.Engine != VLLM || !strings.HasSuffix(strings.Join(r.Command, " "), "--uds /run/autoglm-sidecar/gpu0.worker.sock --gpu-memory-utilization 0.80") || len(r.Notes) > 0 {
		t.Errorf("it would run %q as %s, noting %q", r.Command, r.Engine, r.Notes)
	}
}

// validate judges a value as a JSON Schema validator would, as far as our schema goes, and returns what is wrong.
func validate(schema map[string]any, v any) string {
	if choices, ok := schema["anyOf"].([]any); ok {
		for _, one := range choices {
			if validate(one.(map[string]any), v) == "" {
				return ""
			}
		}
		return "none of anyOf"
	}
	if c, ok := schema["const"]; ok {
		if c != v {
			return "not the const"
		}
		return ""
	}
	if enum, ok := schema["enum"].([]any); ok {
		if !slices.Contains(enum, v) {
			return "not of enum"
		}
		return ""
	}
	switch v := v.(type) {
	case map[string]any:
		if schema["type"] != "object" {
			return "an object"
		}
		properties, _ := schema["properties"].(map[string]any)
		for name, value := range v {
			inner, known := properties[name].(map[string]any)
			if !known {
				if inner, known = schema["additionalProperties"].(map[string]any); !known {
					return name + " is unknown"
				}
			}
			if wrong := validate(inner, value); wrong != "" {
				return name + ": " + wrong
			}
		}
	case []any:
		if schema["type"] != "array" {
			return "an array"
		}
		for _, one := range v {
			if wrong := validate(schema["items"].(map[string]any), one); wrong != "" {
				return wrong
			}
		}
	case float64:
		if schema["type"] != "integer" && !isListed(schema["type"], "number") {
			return "a number"
		}
		if least, ok := schema["minimum"].(float64); ok && v < least || v > schemaMost(schema) {
			return "out of bounds"
		}
	case string:
		if schema["type"] != "string" && !isListed(schema["type"], "string") {
			return "text"
		}
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			return "not of pattern " + pattern
		}
	}
	return ""
}

func isListed(types any, name string) bool {
	list, _ := types.([]any)
	return slices.Contains(list, any(name))
}

func schemaMost(schema map[string]any) float64 {
	if most, ok := schema["maximum"].(float64); ok {
		return most
	}
	return 1e300
}

// An editor must not object to what the decoder takes: what is shown of each good file is good by the schema.
func TestTheSchemaTakesWhatTheDecoderTakes(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	example, _ := os.ReadFile("../../docs/example.yaml")
	for _, content := range []string{string(example), "worker: {upstream: ':1'}", "hold: 0\nworker: {command: [w, '{port}']}", gpuFile, "pulse: {probes: [{kind: exec, command: [x]}]}\nworker: {upstream: ':1'}"} {
		r, err := read(content)
		if err != nil {
			t.Fatal(err)
		}
		var shown any
		if err := json.Unmarshal(r.Shown.Settings, &shown); err != nil {
			t.Fatal(err)
		}
		if wrong := validate(schema, shown); wrong != "" {
			t.Errorf("%s: the schema refuses %s", content, wrong)
		}
	}
	for _, broken := range []string{
		`{"bogus": 1}`, `{"drain": 90}`, `{"drain": "soon"}`, `{"limits": {"connections": 0}}`, `{"mode": "x"}`, `{"fronts": {}}`, `{"limits": {"keep_count": "3"}}`, `{"worker": {"command": "vllm"}}`,
		`{"gpu": {"limit": "95"}}`, `{"gpu": {"limit": 95}}`, `{"gpu": {"minimum_driver": "v550"}}`, `{"gpu": {"faults": {"79": "stop"}}}`, `{"windows": [{"every": "1h"}]}`,
	} {
		var v any
		if err := json.Unmarshal([]byte(broken), &v); err != nil {
			t.Fatal(err)
		}
		if validate(schema, v) == "" {
			t.Errorf("the schema takes %s", broken)
		}
	}
}
