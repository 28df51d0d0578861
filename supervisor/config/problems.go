package config

import (
	"fmt"
	"strings"
)

// Problem is one setting that is wrong.
type Problem struct {
	Setting string   // as a person writes it: --listen, COMMAND
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
	text := p.Setting + " " + p.Text
	switch len(p.Type) {
	case 0:
		return text
	case 1:
		return text + "; type: " + p.Type[0]
	default:
		return text + "; type one of:\n    " + strings.Join(p.Type, "\n    ")
	}
}

// add notes what a parser said of the value of a setting, if it said anything.
func (p *Problems) add(setting, value string, err error) {
	if err == nil {
		return
	}
	if value != "" {
		setting += fmt.Sprintf(" %q:", value)
	}
	*p = append(*p, Problem{Setting: setting, Text: err.Error()})
}

func (p *Problems) addf(setting, format string, args ...any) {
	*p = append(*p, Problem{Setting: setting, Text: fmt.Sprintf(format, args...)})
}

func (p *Problems) advise(setting, text string, lines ...string) {
	*p = append(*p, Problem{Setting: setting, Text: text, Type: lines})
}
