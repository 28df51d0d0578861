package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// words are a list of text: a command, or ends of paths.
type words struct {
	good  func(string) error
	empty bool // a list without any is allowed, and means none
}

func (w words) read(d *decoder, path string, n *yaml.Node, into reflect.Value) {
	found := []string{}
	d.elements(path, n, "a list of words", func(path string, n *yaml.Node) {
		if text, ok := d.word(path, n, "text"); ok {
			found = append(found, text)
		}
	})
	into.Set(reflect.ValueOf(found))
}

func (w words) judge(path string, v reflect.Value, tell func(string, string, error)) {
	all := v.Interface().([]string)
	if all != nil && len(all) == 0 && !w.empty {
		tell(path, "", errors.New("is a list without a word"))
	}
	for i, word := range all {
		if strings.ContainsRune(word, 0) {
			tell(element(path, i), "", errors.New("holds a NUL, which no program can be given"))
		}
		if w.good != nil {
			if err := w.good(word); err != nil {
				tell(element(path, i), word, err)
			}
		}
	}
}

func (w words) show(path string, v reflect.Value, note func(string) string) *yaml.Node {
	if v.Len() == 0 && !w.empty {
		return nil // there is none, and a list without a word would be wrong
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, LineComment: note(path)}
	for _, word := range RedactCommand(v.Interface().([]string)) {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: word})
	}
	return n
}

func (w words) schema() map[string]any {
	s := map[string]any{"type": "array", "items": map[string]any{"type": []string{"string", "number", "boolean"}}}
	if !w.empty {
		s["minItems"] = 1
	}
	return s
}

// variables are names of an environment with their values.
type variables struct{}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (variables) read(d *decoder, path string, n *yaml.Node, into reflect.Value) {
	found := map[string]string{}
	d.pairs(path, n, "a mapping of variables to their values", func(path, name string, key, value *yaml.Node) {
		if text, ok := d.word(path, value, "text"); ok {
			found[name] = text
		}
	})
	into.Set(reflect.ValueOf(found))
}

func (variables) judge(path string, v reflect.Value, tell func(string, string, error)) {
	env := v.Interface().(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		switch {
		case !variableName.MatchString(name):
			tell(below(path, name), "", errors.New("is no name of a variable: it has letters, digits and _, and begins with no digit"))
		case IsOurs(name):
			tell(below(path, name), "", errors.New("is the sidecar's own and never reaches a worker"))
		case strings.ContainsRune(env[name], 0):
			tell(below(path, name), "", errors.New("holds a NUL, which no program can be given"))
		}
	}
}

func (variables) show(path string, v reflect.Value, note func(string) string) *yaml.Node {
	env := v.Interface().(map[string]string)
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name},
			&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: RedactVariable(name, env[name]), LineComment: note(below(path, name))})
	}
	if len(env) == 0 {
		n.Style, n.LineComment = yaml.FlowStyle, note(path)
	}
	return n
}

func (variables) schema() map[string]any {
	return map[string]any{
		"type": "object", "propertyNames": map[string]any{"pattern": variableName.String()},
		"additionalProperties": map[string]any{"type": []string{"string", "number", "boolean"}},
	}
}

// list is a list of objects.
type list struct {
	of          object
	least, most int
	fresh       func() any // an element of which nothing was said
}

func (l list) read(d *decoder, path string, n *yaml.Node, into reflect.Value) {
	found := reflect.MakeSlice(into.Type(), 0, 0)
	d.elements(path, n, "a list", func(path string, n *yaml.Node) {
		one := reflect.New(into.Type().Elem()).Elem()
		one.Set(reflect.ValueOf(l.fresh()))
		l.of.read(d, path, n, one)
		found = reflect.Append(found, one)
	})
	into.Set(found)
}

func (l list) judge(path string, v reflect.Value, tell func(string, string, error)) {
	if !v.IsNil() && v.Len() < l.least || v.Len() > l.most {
		tell(path, "", fmt.Errorf("has %d entries; there are %d to %d", v.Len(), l.least, l.most))
	}
	for i := range v.Len() {
		l.of.judge(element(path, i), v.Index(i), tell)
	}
}

func (l list) show(path string, v reflect.Value, note func(string) string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		n.Content = append(n.Content, l.of.show(element(path, i), v.Index(i), note))
	}
	if v.Len() == 0 {
		n.Style, n.LineComment = yaml.FlowStyle, note(path)
	}
	return n
}

func (l list) schema() map[string]any {
	return map[string]any{"type": "array", "items": l.of.schema(), "minItems": l.least, "maxItems": l.most}
}

// What an object does as a form.

func (o object) read(d *decoder, path string, n *yaml.Node, into reflect.Value) {
	d.pairs(path, n, "a mapping of keys to values", func(at, name string, keyNode, value *yaml.Node) {
		k, known := o.named(name)
		if !known {
			d.unknown(keyNode, path, name, o)
			return
		}
		if d.skip(at) {
			into := reflect.New(k.at(into).Type()).Elem() // judged as it is written, and not taken
			k.form.read(d, at, value, into)
			return
		}
		k.form.read(d, at, value, k.at(into))
	})
}

func (o object) judge(path string, v reflect.Value, tell func(string, string, error)) {
	for _, k := range o {
		k.form.judge(below(path, k.name), k.at(v), tell)
	}
}

func (o object) show(path string, v reflect.Value, note func(string) string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range o {
		if value := k.form.show(below(path, k.name), k.at(v), note); value != nil {
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: k.name}, value)
		}
	}
	return n
}

func (o object) schema() map[string]any {
	properties := map[string]any{}
	for _, k := range o {
		s := k.form.schema()
		s["description"] = strings.ReplaceAll(k.help, "`", "")
		properties[k.name] = s
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}
