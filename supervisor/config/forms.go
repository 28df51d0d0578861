package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// form is how the value of a key is written. Reading, judging, showing and what an editor is told are one thing's
// business, so that they are of one mind.
type form interface {
	// read puts what stands at a node into the value, or notes what is wrong with it.
	read(d *decoder, path string, n *yaml.Node, into reflect.Value)
	// judge tells what is wrong with a value, whoever wrote it.
	judge(path string, v reflect.Value, tell func(path, value string, err error))
	// show returns the node to be written for a value; nil: there is nothing to be written.
	show(path string, v reflect.Value, note func(path string) string) *yaml.Node
	// schema is what JSON Schema says of it.
	schema() map[string]any
}

// scalar is a value that is written as one word or number.
type scalar struct {
	what  string // what belongs there, for whoever wrote something else
	typ   reflect.Type
	plain bool                           // written without quotes: a number
	parse func(text string) (any, error) // of the type
	text  func(v any) string
	good  func(v any) error // nil: whatever can be read
	hint  map[string]any
}

func (s scalar) read(d *decoder, path string, n *yaml.Node, into reflect.Value) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.wrong(n, path, "", fmt.Errorf("must be %s, and is %s", s.what, kindOf(n)))
	case n.ShortTag() == "!!null":
		d.wrong(n, path, "", fmt.Errorf("has no value; write %s, or leave the key away for its default", s.what))
	case s.plain && n.ShortTag() != "!!int":
		d.wrong(n, path, n.Value, fmt.Errorf("must be %s", s.what))
	default:
		v, err := s.parse(n.Value)
		if err != nil {
			d.wrong(n, path, n.Value, err)
			return
		}
		into.Set(reflect.ValueOf(v).Convert(into.Type()))
	}
}

func (s scalar) judge(path string, v reflect.Value, tell func(string, string, error)) {
	if s.good == nil {
		return
	}
	if err := s.good(v.Convert(s.typ).Interface()); err != nil {
		tell(path, s.text(v.Convert(s.typ).Interface()), err)
	}
}

func (s scalar) show(path string, v reflect.Value, note func(string) string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s.text(v.Convert(s.typ).Interface()), LineComment: note(path)}
	if s.plain || plainValue.MatchString(n.Value) {
		n.Tag = "" // as a person writes it
	}
	return n
}

// plainValue needs no quotes anywhere: times, sizes, shares, numbers.
var plainValue = regexp.MustCompile(`^-?[0-9][0-9.]*(%|ns|µs|ms|[smhB]|[0-9msh]+|[KMGT]iB(/s)?|B/s)?$`)

func (s scalar) schema() map[string]any { return maps.Clone(s.hint) }

// text is any text that good finds nothing wrong with. A default of "" means that there is none to be judged.
func text(good func(string) error) scalar {
	return scalar{
		what: "text", typ: reflect.TypeFor[string](),
		parse: func(text string) (any, error) { return text, nil },
		text:  func(v any) string { return v.(string) },
		good: func(v any) error {
			if strings.ContainsRune(v.(string), 0) {
				return errors.New("holds a NUL")
			}
			if good == nil {
				return nil
			}
			return good(v.(string))
		},
		hint: map[string]any{"type": "string"},
	}
}

// oneOf is one of a few words.
func oneOf[T ~string](all ...T) scalar {
	var names []string
	for _, one := range all {
		names = append(names, string(one))
	}
	s := text(func(text string) error {
		if slices.Contains(names, text) {
			return nil
		}
		if near := nearest(text, names); near != "" {
			return fmt.Errorf("must be %s; did you mean %s?", orList(names), near)
		}
		return fmt.Errorf("must be %s", orList(names))
	})
	s.what = orList(names)
	s.hint = map[string]any{"enum": names}
	return s
}

// hold is a time, 0 or auto.
var hold = scalar{
	what: "auto, 0 or a time as in 90s", typ: reflect.TypeFor[string](),
	parse: func(text string) (any, error) { return text, nil },
	text:  func(v any) string { return v.(string) },
	good: func(v any) error {
		_, _, err := parseHold(v.(string))
		return err
	},
	hint: map[string]any{"anyOf": []any{map[string]any{"const": HoldAuto}, map[string]any{"const": 0}, map[string]any{"type": "string", "pattern": spanPattern}}},
}

func parseHold(text string) (d time.Duration, auto bool, err error) {
	if text == HoldAuto {
		return 0, true, nil
	}
	d, err = parseSpan(text)
	if err != nil || d < 0 || d > longestSpan {
		return 0, false, errors.New("must be auto (drain + start deadline), 0 (refuse at once) or a time as in 90s")
	}
	return d, false, nil
}

const (
	spanPattern  = `^[+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$`
	sizePattern  = `^[0-9]+(B|KiB|MiB|GiB|TiB)$`
	ratePattern  = `^[0-9]+(B|KiB|MiB|GiB|TiB)/s$`
	sharePattern = `^[0-9]+(\.[0-9]+)?%$`

	longestSpan = 365 * 24 * time.Hour // sums of times stay far from the end of all numbers
)

// span is a time of at least least; zero says what 0 means, empty: it is not allowed.
func span(least time.Duration, zero string) scalar { return spanUpTo(least, longestSpan, zero) }

// spanUpTo is a span that is no longer than most.
func spanUpTo(least, most time.Duration, zero string) scalar {
	return scalar{
		what: "a time as in 90s", typ: reflect.TypeFor[time.Duration](),
		parse: func(text string) (any, error) { return parseSpan(text) },
		text:  func(v any) string { return shortSpan(v.(time.Duration)) },
		good: func(v any) error {
			switch d := v.(time.Duration); {
			case d == 0 && zero != "", d >= least && d <= most:
				return nil
			case most < longestSpan:
				return between(int64(d), int64(least), int64(most), zero, func(n int64) string { return shortSpan(time.Duration(n)) })
			case d > longestSpan:
				return fmt.Errorf("must be at most %s, which is a year", shortSpan(longestSpan))
			case zero != "":
				return fmt.Errorf("must be 0 (%s) or at least %s", zero, shortSpan(least))
			case least <= 1:
				return errors.New("must be longer than 0")
			default:
				return fmt.Errorf("must be at least %s", shortSpan(least))
			}
		},
		hint: orZero(zero, map[string]any{"type": "string", "pattern": spanPattern}),
	}
}

func parseSpan(text string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n != 0 {
		return 0, fmt.Errorf("has no unit; write %ss if seconds are meant", text)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("must be a time as in 90s, 15m or 1h30m")
	}
	return d, nil
}

// shortSpan writes a time without the zeros that time.Duration puts behind it.
func shortSpan(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = text[:len(text)-2]
	}
	if strings.HasSuffix(text, "h0m") {
		text = text[:len(text)-2]
	}
	if text == "0s" {
		return "0"
	}
	return text
}

// sizes are the units of memory, as Linux and Kubernetes write them.
var sizes = []struct {
	unit  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// size is a number of bytes from least to most; zero says what 0 means, empty: it is not allowed.
func size(least, most int64, zero string) scalar {
	return scalar{
		what: "a size as in 16MiB", typ: reflect.TypeFor[int64](),
		parse: func(text string) (any, error) { return parseSize(text) },
		text:  func(v any) string { return shortSize(v.(int64)) },
		good:  func(v any) error { return between(v.(int64), least, most, zero, shortSize) },
		hint:  orZero(zero, map[string]any{"type": "string", "pattern": sizePattern}),
	}
}

func parseSize(text string) (int64, error) {
	if text == "0" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return 0, fmt.Errorf("has no unit; write %s if bytes are meant", shortSize(n))
	}
	for _, s := range sizes {
		digits, ok := strings.CutSuffix(text, s.unit)
		n, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || n < 0 || strings.HasPrefix(digits, "+") {
			continue
		}
		if n > math.MaxInt64/s.bytes {
			return 0, errors.New("is more than there is memory anywhere")
		}
		return n * s.bytes, nil
	}
	return 0, errors.New("must be a size as in 64KiB, 16MiB or 1GiB")
}

func shortSize(n int64) string {
	for _, s := range sizes {
		if n != 0 && n%s.bytes == 0 {
			return strconv.FormatInt(n/s.bytes, 10) + s.unit
		}
	}
	return "0"
}

// rate is a number of bytes a second.
func rate(zero string) scalar {
	return scalar{
		what: "a rate as in 256B/s", typ: reflect.TypeFor[int64](),
		parse: func(text string) (any, error) {
			if text == "0" {
				return int64(0), nil
			}
			bytes, ok := strings.CutSuffix(text, "/s")
			n, err := parseSize(bytes)
			if !ok || err != nil {
				return nil, errors.New("must be a rate as in 256B/s or 1KiB/s")
			}
			return n, nil
		},
		text: func(v any) string {
			if v.(int64) == 0 {
				return "0"
			}
			return shortSize(v.(int64)) + "/s"
		},
		good: func(v any) error {
			return between(v.(int64), 1, 1<<30, zero, func(n int64) string { return shortSize(n) + "/s" })
		},
		hint: orZero(zero, map[string]any{"type": "string", "pattern": ratePattern}),
	}
}

// whole is a number from least to most; zero says what 0 means, empty: it is not allowed.
func whole(least, most int64, zero string) scalar {
	low := least
	if zero != "" {
		low = 0
	}
	return scalar{
		what: "a whole number", typ: reflect.TypeFor[int64](), plain: true,
		parse: func(text string) (any, error) {
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return nil, errors.New("must be a whole number, and not a huge one")
			}
			return n, nil
		},
		text: func(v any) string { return strconv.FormatInt(v.(int64), 10) },
		good: func(v any) error {
			return between(v.(int64), least, most, zero, func(n int64) string { return strconv.FormatInt(n, 10) })
		},
		hint: map[string]any{"type": "integer", "minimum": low, "maximum": most},
	}
}

func between(n, least, most int64, zero string, write func(int64) string) error {
	switch {
	case n == 0 && zero != "", n >= least && n <= most:
		return nil
	case zero != "":
		return fmt.Errorf("must be 0 (%s) or between %s and %s", zero, write(least), write(most))
	default:
		return fmt.Errorf("must be between %s and %s", write(least), write(most))
	}
}

// share is a part of a whole, written in per cent; zero says what 0 means, empty: it is not allowed.
func share(least, most float64, zero string) scalar {
	return scalar{
		what: "a share as in 80%", typ: reflect.TypeFor[float64](),
		parse: func(text string) (any, error) {
			if text == "0" {
				return 0.0, nil
			}
			if f, err := strconv.ParseFloat(text, 64); err == nil {
				return nil, fmt.Errorf("has no %%; write %s", shortShare(f))
			}
			digits, ok := strings.CutSuffix(text, "%")
			f, err := strconv.ParseFloat(digits, 64)
			if !ok || err != nil || !digitsOnly.MatchString(digits) {
				return nil, errors.New("must be a share as in 80%")
			}
			return f / 100, nil
		},
		text: func(v any) string { return shortShare(v.(float64)) },
		good: func(v any) error {
			switch f := v.(float64); {
			case f == 0 && zero != "", f >= least && f <= most:
				return nil
			default:
				return fmt.Errorf("must be between %s and %s", shortShare(least), shortShare(most))
			}
		},
		hint: orZero(zero, map[string]any{"type": "string", "pattern": sharePattern}),
	}
}

var digitsOnly = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

func shortShare(f float64) string {
	return strconv.FormatFloat(math.Round(f*1e6)/1e4, 'f', -1, 64) + "%"
}

// orZero adds a bare 0 to what may stand there.
func orZero(zero string, hint map[string]any) map[string]any {
	if zero == "" {
		return hint
	}
	return map[string]any{"anyOf": []any{map[string]any{"const": 0, "description": zero}, hint}}
}

// orList writes words as in "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// networks are addresses or blocks of them, one a line.
type networks struct{}

func (networks) read(d *decoder, path string, n *yaml.Node, into reflect.Value) {
	var found []netip.Prefix
	d.elements(path, n, "a list of addresses as in 10.0.0.0/8", func(path string, n *yaml.Node) {
		text, ok := d.word(path, n, "an address as in 10.0.0.0/8")
		if !ok {
			return
		}
		prefix, err := netip.ParsePrefix(text)
		if addr, errAddr := netip.ParseAddr(text); errAddr == nil && addr.Zone() == "" {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			d.wrong(n, path, text, errors.New("is no address and no block of them; write as in 10.0.0.7 or 10.0.0.0/8"))
			return
		}
		if prefix != prefix.Masked() {
			d.wrong(n, path, text, fmt.Errorf("has bits behind its length; write %v", prefix.Masked()))
			return
		}
		found = append(found, prefix)
	})
	into.Set(reflect.ValueOf(found))
}

func (networks) judge(string, reflect.Value, func(string, string, error)) {}

func (networks) show(path string, v reflect.Value, note func(string) string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, LineComment: note(path)}
	for _, p := range v.Interface().([]netip.Prefix) {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: p.String()})
	}
	return n
}

func (networks) schema() map[string]any {
	return map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
}
