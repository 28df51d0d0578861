package http1

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	client4 = netip.MustParseAddr("192.0.2.1")
	client6 = netip.MustParseAddr("2001:db8::1")
)

func TestTheWorkerLearnsOfItsClientsAddress(t *testing.T) {
	for _, tt := range []struct {
		name   string
		origin Origin
		in     []string // further lines of the request
		want   []string
	}{
		{"off: all passes", Origin{ForwardedOff, client4, false}, []string{"X-Forwarded-For: a", "Forwarded: for=a", "X_Forwarded_For: a"}, []string{"X-Forwarded-For: a", "Forwarded: for=a", "X_Forwarded_For: a"}},
		{"nothing was said", Origin{ForwardedForX, client4, false}, []string{"A: b"}, []string{"A: b", "X-Forwarded-For: 192.0.2.1"}},
		{"nothing was said, RFC 7239", Origin{ForwardedRFC, client4, false}, []string{"A: b"}, []string{"A: b", "Forwarded: for=192.0.2.1"}},
		{"IPv6", Origin{ForwardedForX, client6, false}, nil, []string{"X-Forwarded-For: 2001:db8::1"}},
		{"IPv6, RFC 7239", Origin{ForwardedRFC, client6, false}, nil, []string{`Forwarded: for="[2001:db8::1]"`}},
		{"IPv4 on a socket for both, without a zone", Origin{ForwardedForX, netip.MustParseAddr("::ffff:192.0.2.1"), false}, nil, []string{"X-Forwarded-For: 192.0.2.1"}},
		{"a link's own address", Origin{ForwardedRFC, netip.MustParseAddr("fe80::1%eth0"), false}, nil, []string{`Forwarded: for="[fe80::1]"`}},
		{
			"a stranger's word in any field is dropped",
			Origin{ForwardedForX, client4, false},
			[]string{"x-forwarded-for: 10.0.0.1", "A: b", "Forwarded: for=10.0.0.1", "X-FORWARDED-FOR: 10.0.0.2", "X_Forwarded_For: 10.0.0.3", "x-forwarded_for: 10.0.0.4"},
			[]string{"A: b", "X-Forwarded-For: 192.0.2.1"},
		},
		{
			"a trusted one's is added to",
			Origin{ForwardedForX, client4, true},
			[]string{"x-forwarded-for:10.0.0.1 ", "A: b", "Forwarded: for=10.0.0.1"},
			[]string{"x-forwarded-for:10.0.0.1, 192.0.2.1", "A: b", "Forwarded: for=10.0.0.1"},
		},
		{
			"to its last line",
			Origin{ForwardedForX, client4, true},
			[]string{"X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2", "A: b"},
			[]string{"X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2, 192.0.2.1", "A: b"},
		},
		{
			"that says something",
			Origin{ForwardedForX, client4, true},
			[]string{"X-Forwarded-For: 10.0.0.1", "X-Forwarded-For:"},
			[]string{"X-Forwarded-For: 10.0.0.1, 192.0.2.1", "X-Forwarded-For:"},
		},
		{"or to none", Origin{ForwardedForX, client4, true}, []string{"X-Forwarded-For:"}, []string{"X-Forwarded-For:", "X-Forwarded-For: 192.0.2.1"}},
		{
			"RFC 7239 likewise",
			Origin{ForwardedRFC, client6, true},
			[]string{`Forwarded: for=10.0.0.1;by="_x\"", for=b`, "X-Forwarded-For: a"},
			[]string{`Forwarded: for=10.0.0.1;by="_x\"", for=b, for="[2001:db8::1]"`, "X-Forwarded-For: a"},
		},
		{
			"but not behind a quote that doesn't close",
			Origin{ForwardedRFC, client4, true},
			[]string{`Forwarded: for="10.0.0.1`, "Forwarded: for=b", "A: b"},
			[]string{"A: b", "Forwarded: for=192.0.2.1"},
		},
		{
			"the forged spelling is nobody's",
			Origin{ForwardedForX, client4, true},
			[]string{"X_Forwarded_For: 10.0.0.1"},
			[]string{"X-Forwarded-For: 192.0.2.1"},
		},
		{"who has no address adds none", Origin{ForwardedForX, netip.Addr{}, true}, []string{"X-Forwarded-For: 10.0.0.1"}, []string{"X-Forwarded-For: 10.0.0.1"}},
		{"who has no address and isn't trusted says nothing", Origin{ForwardedForX, netip.Addr{}, false}, []string{"X-Forwarded-For: 10.0.0.1"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := head(append([]string{"GET / HTTP/1.1", "Host: h"}, tt.in...)...)
			var r Request
			if bad := ParseRequest(in, &r); bad != nil {
				t.Fatal(bad)
			}
			want := head(append(append([]string{"GET / HTTP/1.1", "Host: h"}, tt.want...), "Connection: close")...)
			if got := AppendRequest(nil, in, &r, RequestEdit{Origin: tt.origin}); !bytes.Equal(got, want) {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
		})
	}
}

func TestConnectionCannotTakeAwayWhereARequestComesFrom(t *testing.T) {
	for _, name := range []string{"X-Forwarded-For", "forwarded", "x_forwarded_for"} {
		var r Request
		if bad := ParseRequest(head("GET / HTTP/1.1", "Host: h", "Connection: "+name), &r); bad == nil || bad.Status != 400 {
			t.Errorf("Connection: %s is taken: %v", name, bad)
		}
	}
}

// agreeOnOrigin compares, by net/http's reading, what the worker gets with an origin and without one (edited): the same,
// but for the two fields, which say what they should.
func agreeOnOrigin(t *testing.T, head, edited []byte, r *Request) {
	t.Helper()
	names := map[Forwarded]string{ForwardedForX: "X-Forwarded-For", ForwardedRFC: "Forwarded"}
	nodes := map[Forwarded]string{ForwardedForX: "2001:db8::1", ForwardedRFC: `for="[2001:db8::1]"`}
	plain, err := http.ReadRequest(reader(edited))
	if err != nil {
		t.Fatal(err)
	}
	for by, name := range names {
		for _, trusted := range []bool{false, true} {
			sent := AppendRequest(nil, head, r, RequestEdit{RequestID: []byte("ours-1"), Origin: Origin{by, client6, trusted}})
			got, err := http.ReadRequest(reader(sent))
			if err != nil {
				t.Fatalf("of %q the worker gets %q, which net/http refuses: %v", head, sent, err)
			}
			want := plain.Header.Clone()
			if _, other := want["Forwarded"]; !trusted || by == ForwardedRFC && other && !closes(want["Forwarded"]) {
				want.Del(name)
			}
			if !trusted {
				want.Del("Forwarded")
				want.Del("X-Forwarded-For")
			}
			for given := range want {
				if strings.EqualFold(strings.ReplaceAll(given, "_", "-"), "x-forwarded-for") && strings.Contains(given, "_") {
					delete(want, given)
				}
			}
			if trusted && by == ForwardedForX && !closes(want["Forwarded"]) {
				want.Del("Forwarded")
			}
			added := false
			for i := len(want[name]) - 1; i >= 0 && !added; i-- {
				if want[name][i] != "" {
					want[name][i] += ", " + nodes[by]
					added = true
				}
			}
			if !added {
				want[name] = append(want[name], nodes[by])
			}
			if diff := cmp.Diff(want, got.Header); diff != "" || got.Method != plain.Method || got.RequestURI != plain.RequestURI || got.Host != plain.Host || got.ContentLength != plain.ContentLength {
				t.Fatalf("with %v, trusted %v, the worker gets of %q\n%q\n(- should be, + is)\n%s", name, trusted, head, sent, diff)
			}
		}
	}
}

// closes is quotesClose, said in another way.
func closes(values []string) bool {
	for _, value := range values {
		rest := value
		for {
			_, after, found := strings.Cut(rest, `"`)
			if !found {
				break
			}
			end := 0
			for end < len(after) && after[end] != '"' {
				if after[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(after) {
				return false
			}
			rest = after[end+1:]
		}
	}
	return true
}
