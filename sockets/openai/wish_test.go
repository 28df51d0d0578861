package openai

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// wishOf reads a body, cut at the given bytes.
func wishOf(body string, cuts ...int) (w Wish) {
	from := 0
	for _, at := range cuts {
		w.Next([]byte(body[from:at]))
		w = Wish(w) // a copy goes on
		from = at
	}
	w.Next([]byte(body[from:]))
	return w
}

var wishes = []struct {
	name string
	body string
	want bool
}{
	{"nothing else", `{"stream":true}`, true},
	{"white space anywhere", " \t\r\n{ \"stream\" \n:\ttrue } \r\n", true},
	{"a usual request", `{"model":"m","messages":[{"role":"user","content":"say \"stream\":true"}],"stream": true, "stream_options":{"include_usage":true},"temperature":-0.5e+3}`, true},
	{"last of all, behind all kinds of values", `{"a":[1,2.5,-0,1e9,[],{}],"b":{"c":null,"d":[{"e":false}]},"f":"x","stream":true}`, true},
	{"escapes in the key", `{"str\u0065am":true}`, true},
	{"all of them escapes", `{"\u0073\u0074\u0072\u0065\u0061\u006D":true}`, true},
	{"unfinished", `{"stream":true`, false},
	{"false", `{"stream":false}`, false},
	{"null", `{"stream":null}`, false},
	{"a number", `{"stream":1}`, false},
	{"a string", `{"stream":"true"}`, false},
	{"an object", `{"stream":{"stream":true}}`, false},
	{"an array", `{"stream":[true]}`, false},
	{"no such key", `{"model":"m"}`, false},
	{"nested only", `{"extra_body":{"stream":true}}`, false},
	{"nested deeper, behind an array", `{"a":[{"stream":true}],"stream_":true}`, false},
	{"text that looks like it", `{"prompt":"\"stream\":true, \\\"stream\\\": true"}`, false},
	{"text behind an escaped quote", `{"prompt":"\\\"","x":"{\"stream\":true}"}`, false},
	{"twice, and both times true", `{"stream":true,"stream":true}`, false},
	{"twice, and then false", `{"stream":true,"stream":false}`, false},
	{"twice, and then true", `{"stream":false,"stream":true}`, false},
	{"twice, spelt otherwise", `{"stream":true,"strea\u006d":false}`, false},
	{"another case", `{"Stream":true}`, false},
	{"longer", `{"streams":true}`, false},
	{"shorter", `{"strea":true}`, false},
	{"empty", `{"":true}`, false},
	{"an escape that is no letter of it", `{"stream\n":true}`, false},
	{"a letter beyond it", `{"strea\u016d":true}`, false},
	{"an array", `[{"stream":true}]`, false},
	{"no JSON", `stream=true`, false},
	{"nothing", ``, false},
	{"something behind it", `{"stream":true}{}`, false},
	{"a comma too many", `{"stream":true,}`, false},
	{"a comma too few", `{"a":1 "stream":true}`, false},
	{"a bad number", `{"a":01,"stream":true}`, false},
	{"another bad number", `{"a":1.,"stream":true}`, false},
	{"Python's own", `{"a":NaN,"stream":true}`, false},
	{"a bad literal", `{"a":nul,"stream":true}`, false},
	{"a literal with a tail", `{"stream":trueish}`, false},
	{"a bad escape", `{"a":"\x","stream":true}`, false},
	{"bad digits", `{"a":"\u00g0","stream":true}`, false},
	{"a control byte in a string", "{\"a\":\"\n\",\"stream\":true}", false},
	{"the wrong bracket", `{"a":[1},"stream":true}`, false},
	{"as deep as it may be", `{"a":` + strings.Repeat("[", deepest-1) + strings.Repeat("]", deepest-1) + `,"stream":true}`, true},
	{"deeper", `{"a":` + strings.Repeat("[", deepest) + strings.Repeat("]", deepest) + `,"stream":true}`, false},
	{"a byte order mark", "\ufeff{\"stream\":true}", false},
}

func TestWishes(t *testing.T) {
	for _, tt := range wishes {
		t.Run(tt.name, func(t *testing.T) {
			whole := wishOf(tt.body)
			if got := whole.Streams(); got != tt.want {
				t.Errorf("%q asks for a stream: %v, want %v", tt.body, got, tt.want)
			}
			if whole.Never() && tt.want || whole.Read != int64(len(tt.body)) {
				t.Errorf("%q: never %v, %d bytes read", tt.body, whole.Never(), whole.Read)
			}
			for at := range len(tt.body) + 1 {
				for _, second := range []int{at, min(at+1, len(tt.body)), len(tt.body)} {
					if got := wishOf(tt.body, at, second); got.Streams() != tt.want || got.Never() != whole.Never() {
						t.Fatalf("%q cut at %d and %d: %+v, in one piece %+v", tt.body, at, second, got, whole)
					}
				}
				if part := wishOf(tt.body[:at]); tt.want && part.Streams() && strings.TrimSpace(tt.body[at:]) != "" {
					t.Fatalf("%q was taken for whole", tt.body[:at])
				}
			}
		})
	}
}

func TestAWishIsPlainAndSmall(t *testing.T) {
	typ := reflect.TypeFor[Wish]()
	if typ.Size() > 32 {
		t.Errorf("it has %d bytes", typ.Size())
	}
	for f := range typ.Fields() {
		switch f.Type.Kind() {
		case reflect.Int64, reflect.Uint64, reflect.Uint8, reflect.Uint16, reflect.Bool:
		default:
			t.Errorf("%s is a %v", f.Name, f.Type)
		}
	}
}

// asks is what encoding/json says: a valid object with the key once, and true.
func asks(body []byte) bool {
	var object map[string]json.RawMessage
	if !json.Valid(body) || json.Unmarshal(body, &object) != nil || string(object["stream"]) != "true" {
		return false
	}
	type container struct{ object, key bool } // key: the next string is one
	var in []container
	names := 0
	for d := json.NewDecoder(bytes.NewReader(body)); ; {
		token, err := d.Token()
		if err != nil {
			return names == 1
		}
		delim, _ := token.(json.Delim)
		if delim == '{' || delim == '[' {
			in = append(in, container{delim == '{', delim == '{'})
			if len(in) > deepest {
				return false
			}
			continue
		}
		if delim != 0 {
			in = in[:len(in)-1]
		}
		if len(in) == 0 {
			continue
		}
		last := &in[len(in)-1]
		if delim == 0 && last.key {
			if len(in) == 1 && token == "stream" {
				names++
			}
			last.key = false
		} else {
			last.key = last.object
		}
	}
}

// FuzzWish: encoding/json agrees, whatever is read and wherever it is cut; and a Wish of any bytes comes to an end.
func FuzzWish(f *testing.F) {
	for _, tt := range wishes {
		f.Add([]byte(tt.body), uint16(3), uint64(0), uint64(0))
	}
	f.Fuzz(func(t *testing.T, body []byte, cut uint16, stack, rest uint64) {
		at := int(cut) % (len(body) + 1)
		got := wishOf(string(body), at)
		if want := asks(body); got.Streams() != want {
			t.Fatalf("%q cut at %d asks for a stream: %v, encoding/json says %v", body, at, got.Streams(), want)
		}
		if got.Streams() && got.Never() {
			t.Fatalf("%q: both", body)
		}
		any := Wish{
			Read: int64(stack), stack: stack, depth: uint8(rest), state: wishState(rest >> 8), left: uint8(rest >> 16),
			word: uint8(rest >> 24), match: uint8(rest >> 32), char: uint16(rest >> 40), found: rest>>56&1 != 0, wants: rest>>57&1 != 0,
		}
		any.Next(body) // must not panic
	})
}
