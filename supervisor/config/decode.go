package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Position is where something stands in a file.
type Position struct {
	File   string
	Line   int // from 1
	Column int // from 1, in characters
}

// String writes it as editors and compilers do; empty: it stands in no file.
func (p Position) String() string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return p.File
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// LargestFile is how much of a file is looked at: a thousand times what anybody has to say.
const LargestFile = 1 << 20

// mostWrong bounds how much is said about one file.
const mostWrong = 100

// Read takes what a file says, but for what flags have said already. What is wrong with it is told by Resolve, together
// with all else. file is what the file is called.
func (s *Settings) Read(file string, content []byte) {
	d := &decoder{s: s, file: file}
	s.File = file
	if len(content) > LargestFile {
		s.fault(Problem{At: Position{File: file}, Text: fmt.Sprintf("has more than %s, and can't be a file of settings", shortSize(LargestFile))})
		return
	}
	// An empty file says nothing, and that is allowed. The library has an error for it.
	var all yaml.Node
	if err := yaml.Load(content, &all); err != nil {
		if strings.Contains(err.Error(), "no documents in stream") {
			return
		}
		s.fault(d.syntax(content, err))
		return
	}
	if all.Kind != yaml.DocumentNode || len(all.Content) != 1 {
		return
	}
	top := all.Content[0]
	if top.Kind == yaml.ScalarNode && top.ShortTag() == "!!null" {
		return
	}
	if top.Kind != yaml.MappingNode {
		s.fault(Problem{At: d.position(top), Text: fmt.Sprintf("the file must be a mapping of keys to values, and is %s", kindOf(top))})
		return
	}
	keys().read(d, "", top, reflect.ValueOf(s).Elem())
}

// fault notes what makes all the rest of a file unknown, so that nothing that follows from it need be said.
func (s *Settings) fault(p Problem) {
	s.broken = true
	s.wrong = append(s.wrong, p)
}

// decoder walks the tree of a file. It goes on behind whatever is wrong.
type decoder struct {
	s    *Settings
	file string
}

func (d *decoder) position(n *yaml.Node) Position { return Position{d.file, n.Line, n.Column} }

// wrong notes what is wrong with the value at a node. Nothing is said of a value that wasn't taken.
func (d *decoder) wrong(n *yaml.Node, path, value string, err error) {
	d.s.bad(path)
	d.note(Problem{At: d.position(n), Setting: shownSetting(path, value), Text: Redact(err.Error())})
}

func (d *decoder) note(p Problem) {
	if len(d.s.wrong) < mostWrong {
		d.s.wrong = append(d.s.wrong, p)
	}
}

// syntax turns what the library says of a file that is no YAML into a problem.
func (d *decoder) syntax(content []byte, err error) Problem {
	p := Problem{At: Position{File: d.file}, Text: "is no YAML: " + Redact(err.Error())}
	e, ok := errors.AsType[*yaml.LoadError](err)
	switch {
	case !ok:
	case strings.Contains(e.Message, "expected single document"):
		p.At = d.placeOf(content, secondDocument.FindIndex(content))
		p.Text = "another document begins here (---), and one sidecar has one"
	case e.Mark.Line > 0:
		p.At.Line, p.At.Column = e.Mark.Line, e.Mark.Column
		p.Text = "is no YAML: " + Redact(e.Message)
		if e.ContextMsg != "" {
			p.Text += " (" + e.ContextMsg + ")"
		}
	default: // the library doesn't say where
		p.At = d.placeOf(content, unreadable(content))
		p.Text = "is no YAML: " + Redact(e.Message)
	}
	return p
}

// secondDocument matches a line of --- behind one that says something.
var secondDocument = regexp.MustCompile(`(?m)^[^#\s-].*\n(?:.*\n)*?---(?:\s|$)`)

// unreadable returns where the first character stands that no YAML file may hold.
func unreadable(content []byte) []int {
	for i := 0; i < len(content); {
		r, size := utf8.DecodeRune(content[i:])
		if r == utf8.RuneError && size < 2 || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			return []int{i, i}
		}
		i += size
	}
	return nil
}

// placeOf returns the position of the end of what was found; the file as a whole where nothing was.
func (d *decoder) placeOf(content []byte, found []int) Position {
	if found == nil {
		return Position{File: d.file}
	}
	before := content[:found[1]]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return Position{File: d.file, Line: 1 + bytes.Count(before, []byte("\n")), Column: 1 + utf8.RuneCount(line)}
}

// plain reports whether a node is what it looks like. Anchors are refused: whoever reads a value shall see it where it
// stands, and a page of aliases can be made to mean a library of text.
func (d *decoder) plain(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.wrong(n, path, "", fmt.Errorf("is an alias (*%s); write the value itself", n.Value))
	case n.Anchor != "":
		d.wrong(n, path, "", fmt.Errorf("has an anchor (&%s); there are none here", n.Anchor))
	case n.Style&yaml.TaggedStyle != 0:
		d.wrong(n, path, "", fmt.Errorf("has a tag (%s); there are none here", n.Tag))
	default:
		return true
	}
	return false
}

// elements calls f for each entry of a list.
func (d *decoder) elements(path string, n *yaml.Node, what string, f func(path string, n *yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, path, "", fmt.Errorf("must be %s, and is %s", what, kindOf(n)))
		return
	}
	for i, one := range n.Content {
		at := element(path, i)
		d.came(at, one)
		if d.plain(one, at) {
			f(at, one)
		}
	}
}

// pairs calls f for each key of a mapping, but for one that is there twice.
func (d *decoder) pairs(path string, n *yaml.Node, what string, f func(path, name string, key, value *yaml.Node)) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // all of it was taken out
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(n, path, "", fmt.Errorf("must be %s, and is %s", what, kindOf(n)))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Value == "" {
			d.wrong(key, path, "", errors.New("has a key that is no word"))
			continue
		}
		at := below(path, key.Value)
		if line, twice := seen[key.Value]; twice {
			d.wrong(key, at, "", fmt.Errorf("is here twice; it is in line %d already", line))
			continue
		}
		seen[key.Value] = key.Line
		if d.plain(key, at) && d.plain(value, at) {
			d.came(at, value)
			f(at, key.Value, key, value)
		}
	}
}

// word returns the text of a scalar as it was written: true, 8000 and 0x1 are words, too.
func (d *decoder) word(path string, n *yaml.Node, what string) (string, bool) {
	switch {
	case n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2 && n.Content[1].Value == "":
		// {socket} without quotes.
		d.wrong(n, path, "", fmt.Errorf("is a mapping to YAML; write '{%s}', in quotes", n.Content[0].Value))
	case n.Kind != yaml.ScalarNode:
		d.wrong(n, path, "", fmt.Errorf("must be %s, and is %s", what, kindOf(n)))
	case n.ShortTag() == "!!null":
		d.wrong(n, path, "", errors.New("has no value; write '' for an empty one"))
	default:
		return n.Value, true
	}
	return "", false
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return "nothing"
		case "!!int", "!!float":
			return "a number"
		default:
			return "text"
		}
	default:
		return "something else"
	}
}

// came notes where a key stands.
func (d *decoder) came(path string, value *yaml.Node) {
	if d.s.from == nil {
		d.s.from = map[string]Position{}
	}
	d.s.from[path] = d.position(value)
}

// skip reports whether a flag has said the key's value already.
func (d *decoder) skip(path string) bool { return d.s.flagged[path] }

// unknown notes a key that there is none of, and which one was probably meant: of the same object, or of another.
func (d *decoder) unknown(n *yaml.Node, path, name string, o object) {
	at := below(path, name)
	d.s.bad(at)
	p := Problem{At: d.position(n), Setting: shownSetting(at, ""), Text: "is no key"}
	var here []string
	for _, k := range o {
		here = append(here, k.name)
	}
	if near := nearest(name, here); near != "" {
		p.Text += "; did you mean " + below(path, near) + "?"
	} else if elsewhere := placesOf(name); len(elsewhere) > 0 {
		p.Text += "; did you mean " + orList(elsewhere) + "?"
	} else {
		p.Text += "; there are " + strings.Join(here, ", ")
	}
	d.note(p)
}

// placesOf returns the paths of the keys of this name, or else of the flag of this name.
func placesOf(name string) []string {
	var named, flagged []string
	keys().each("", func(path string, k key) {
		if normal(k.name) == normal(name) {
			named = append(named, path)
		}
		if k.flag != "" && normal(k.flag) == normal(name) {
			flagged = append(flagged, path)
		}
	})
	if len(named) > 0 {
		return named
	}
	return flagged
}

// shownSetting writes a setting and a value in front of what is wrong with it. A name in a file may be anything, a secret
// that slipped in there, too.
func shownSetting(setting, value string) string {
	setting = Redact(setting)
	if !plainSetting.MatchString(setting) {
		setting = strconv.Quote(setting)
	}
	if value == "" {
		return setting
	}
	return setting + " " + shownValue(setting, value) + ":"
}

var plainSetting = regexp.MustCompile(`^[\pL\pN_.\[\]-]+$`)

// shownValue quotes a value for an error: not too long, and without what nobody should see.
func shownValue(path, value string) string {
	const most = 120
	value = RedactVariable(lastOf(path), value)
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "…"
	}
	return strconv.Quote(value)
}

// lastOf returns the last name of a path.
func lastOf(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
