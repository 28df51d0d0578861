package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// limit is a size or a share of what there is; 0: all of it.
var limit = scalar{
	what: "a size as in 76GiB, or a share as in 95%", typ: reflect.TypeFor[Limit](),
	parse: parseLimit,
	text:  func(v any) string { return shortLimit(v.(Limit)) },
	good: func(v any) error {
		switch l := v.(Limit); {
		case l.Bytes != 0 && l.Share != 0:
			return errors.New("must be a size or a share, and not both")
		case l.Share != 0 && (l.Share < 0.01 || l.Share > 1):
			return errors.New("must be a share between 1% and 100%")
		case l.Share != 0:
			return nil
		default:
			return between(l.Bytes, leastMemory, mostMemory, "what the device has", shortSize)
		}
	},
	hint: orZero("what the device has", map[string]any{"type": "string", "pattern": `^([0-9]+(B|KiB|MiB|GiB|TiB)|[0-9]+(\.[0-9]+)?%)$`}),
}

func parseLimit(text string) (any, error) {
	if !strings.HasSuffix(text, "%") {
		bytes, err := parseSize(text)
		switch {
		case text == "0":
			return Limit{}, nil
		case err == nil && bytes == 0:
			return nil, errors.New("is no memory at all; write 0, or leave the key away, for what the device has")
		case err != nil && digitsOnly.MatchString(text):
			return nil, errors.New("has no unit; write a size as in 76GiB, or a share as in 95%")
		case err != nil:
			return nil, errors.New("must be a size as in 76GiB, or a share as in 95%")
		}
		return Limit{Bytes: bytes}, nil
	}
	v, err := share(0, 1, "").parse(text)
	if err != nil {
		return nil, errors.New("must be a size as in 76GiB, or a share as in 95%")
	}
	part := math.Round(v.(float64)*1e6) / 1e6 // as it is shown
	if part == 0 {
		return nil, errors.New("is no memory at all; write 0, or leave the key away, for what the device has")
	}
	return Limit{Share: part}, nil
}

func shortLimit(l Limit) string {
	if l.Share != 0 {
		return shortShare(l.Share)
	}
	return shortSize(l.Bytes)
}

// version is digits with dots between them, at most so many.
func version(like string, most int) scalar {
	pattern := fmt.Sprintf(`^([0-9]{1,6}(\.[0-9]{1,6}){0,%d})?$`, most-1)
	plain := regexp.MustCompile(pattern)
	s := text(func(text string) error {
		if plain.MatchString(text) {
			return nil
		}
		return fmt.Errorf("must be a version as in %s, digits and dots", like)
	})
	s.what = "a version as in " + like
	s.hint = map[string]any{"type": []string{"string", "number"}, "pattern": pattern} // 550.54 is a number to YAML
	return s
}

// faults are numbers of faults, and what is done about each.
type faults struct{}

var (
	faultNumber = regexp.MustCompile(`^[1-9][0-9]{0,5}$`)
	faultWords  = []string{FaultIgnore, FaultNote, FaultRestart, FaultHalt}
)

func (faults) read(d *decoder, path string, n *yaml.Node, into reflect.Value) {
	found := map[uint64]string{}
	d.pairs(path, n, "a mapping of numbers of faults (Xid) to "+orList(faultWords), func(path, name string, key, value *yaml.Node) {
		if !faultNumber.MatchString(name) {
			d.wrong(key, path, "", errors.New("is no number of a fault (Xid); write as in 79: halt"))
			return
		}
		number, _ := strconv.ParseUint(name, 10, 64) // of at most six digits
		word := ""
		oneOf(faultWords...).read(d, path, value, reflect.ValueOf(&word).Elem())
		if !d.s.isBad(path) {
			found[number] = word
		}
	})
	into.Set(reflect.ValueOf(found))
}

func (faults) judge(path string, v reflect.Value, tell func(string, string, error)) {
	all := v.Interface().(map[uint64]string)
	what := oneOf(faultWords...)
	for _, number := range slices.Sorted(maps.Keys(all)) {
		what.judge(below(path, strconv.FormatUint(number, 10)), reflect.ValueOf(all[number]), tell)
	}
}

func (faults) show(path string, v reflect.Value, note func(string) string) *yaml.Node {
	all := v.Interface().(map[uint64]string)
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, number := range slices.Sorted(maps.Keys(all)) {
		name := strconv.FormatUint(number, 10)
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name},
			&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: all[number], LineComment: note(below(path, name))})
	}
	if len(all) == 0 {
		n.Style, n.LineComment = yaml.FlowStyle, note(path)
	}
	return n
}

func (faults) schema() map[string]any {
	return map[string]any{
		"type": "object", "propertyNames": map[string]any{"pattern": faultNumber.String()},
		"additionalProperties": map[string]any{"enum": faultWords},
	}
}
