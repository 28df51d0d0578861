package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one setting that is wrong.
type Problem struct {
	At      Position // where it stands in the file, if it does
	Setting string   // as a person writes it: --listen, COMMAND, limits.idle
	Text    string   // what is wrong with it
	Type    []string // lines to type instead, where they are known; any one of them will do
}

// Problems are all settings that are wrong. As an error it is one line for one of them, else a list.
type Problems []Problem

func (p Problems) Error() string {
	if len(p) == 1 {
		return p[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d settings are wrong:", len(p))
	for _, one := range p {
		b.WriteString("\n  ")
		b.WriteString(one.String())
	}
	return b.String()
}

// String returns the problem and what to type instead: at the end of the line, or one a line where there is a choice.
func (p Problem) String() string {
	text := p.Text
	if p.Setting != "" {
		text = p.Setting + " " + text
	}
	if p.At != (Position{}) {
		text = p.At.String() + ": " + text
	}
	switch len(p.Type) {
	case 0:
		return text
	case 1:
		return text + "; type: " + p.Type[0]
	default:
		return text + "; type one of:\n    " + strings.Join(p.Type, "\n    ")
	}
}

// sort puts what stands in the file first, in the file's order.
func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		switch inFile, otherInFile := a.At.File != "", b.At.File != ""; {
		case inFile && otherInFile:
			return a.At.Line<<16 + min(a.At.Column, 1<<15) - (b.At.Line<<16 + min(b.At.Column, 1<<15))
		case inFile:
			return -1
		case otherInFile:
			return 1
		default:
			return 0
		}
	})
}

// judge gathers what is wrong with settings, and names each as the person wrote it: by its place in the file, by its
// flag, or where nobody wrote it by the flag that would say it.
type judge struct {
	s *Settings
	p Problems
}

// add notes what a parser said of the value of a setting, if it said anything.
func (j *judge) add(path, value string, err error) {
	if err != nil {
		j.addf(path, value, "%s", Redact(err.Error()))
	}
}

func (j *judge) addf(path, value, format string, args ...any) {
	j.advise(path, value, fmt.Sprintf(format, args...))
}

// advise is addf with lines to type instead. Of what can't be read already nothing more is said.
func (j *judge) advise(path, value, text string, lines ...string) {
	if j.s.isBad(path) {
		return
	}
	setting := shownSetting(j.s.called(path), value)
	if value != "" && !isText(path) {
		setting = j.s.called(path) + " " + value + ":" // a time, a size, a number
	}
	j.p = append(j.p, Problem{At: j.s.position(path), Setting: setting, Text: text, Type: lines})
}

// as writes a setting with another value, in the way in which it was said.
func (j *judge) as(path, value string) string {
	if setting := j.s.called(path); strings.HasPrefix(setting, "-") {
		return setting + " " + value
	} else {
		return setting + ": " + value
	}
}
