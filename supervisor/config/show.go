package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Shown are settings as people may see them: each that is in force, where it comes from, and no secret.
type Shown struct {
	Text     string            `json:"text"`     // YAML, with the origin of each value as a comment
	Settings json.RawMessage   `json:"settings"` // the same as an object
	From     map[string]string `json:"from"`     // the origin by the path of the key: default, a place in the file, a flag
	Notes    []string          `json:"notes,omitempty"`
}

// show returns what is in force: s with its presets applied, which are of the keys in preset, and what r found out.
func (s Settings) show(r Run, preset []string) Shown {
	guessed := s.Engine == EngineAuto
	automatic := s.Hold == HoldAuto
	filled := s.Upstream == "" && r.Upstream != (Address{})
	s.Engine, s.Fronts, s.Control, s.State = r.Engine, r.Fronts, r.Control, r.State
	s.Hold, s.Probe, s.Command = shortSpan(r.Hold), r.Probe.String(), r.Command
	asked := len(s.Pulse.Probes) > 0
	s.Pulse.Probes = r.PulseProbes()
	if r.Upstream != (Address{}) {
		s.Upstream = r.Upstream.String()
	}
	from := map[string]string{}
	note := func(path string) string {
		origin := s.origin(path)
		switch {
		case slices.Contains(preset, path):
			origin = fmt.Sprintf("default of engine %s", r.Engine)
		case !asked && strings.HasPrefix(path, "pulse.probes"):
			origin = fmt.Sprintf("default of engine %s: as it is seen to be ready", r.Engine)
		case path == "engine" && guessed:
			origin = "default: as the command looks"
		case path == "worker.upstream" && filled:
			origin = "default: {socket} in the command"
		case path == "hold" && automatic:
			origin += ": drain + start deadline"
		}
		from[path] = origin
		return origin
	}
	tree := keys().show("", reflect.ValueOf(&s).Elem(), note)
	object, err := json.Marshal(plainOf(tree))
	if err != nil { // of words and numbers
		object = []byte("{}")
	}
	var b bytes.Buffer
	d, err := yaml.NewDumper(&b, yaml.WithIndent(2), yaml.WithLineWidth(-1), yaml.WithUnicode())
	if err == nil {
		err = errors.Join(d.Dump(tree), d.Close())
	}
	if err != nil {
		b.Reset()
		fmt.Fprintf(&b, "# the settings can't be written: %v\n", err)
	}
	return Shown{Text: b.String(), Settings: object, From: from, Notes: r.Notes}
}

// origin says who said a key.
func (s Settings) origin(path string) string {
	for outer := range outward(path) {
		if s.flagged[outer] {
			return "--" + flagOf(outer)
		}
	}
	if at, inFile := s.from[path]; inFile {
		return fmt.Sprintf("%s:%d", at.File, at.Line)
	}
	if path == commandKey && len(s.Command) > 0 {
		return "COMMAND"
	}
	return "default"
}

// plainOf turns a tree into what JSON knows.
func plainOf(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plainOf(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := []any{}
		for _, one := range n.Content {
			l = append(l, plainOf(one))
		}
		return l
	default:
		if number, err := strconv.ParseInt(n.Value, 10, 64); err == nil && n.Tag == "" {
			return number
		}
		return n.Value
	}
}
