package daemon

import (
	"net/netip"
	"slices"
	"testing"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/supervisor/config"
)

func TestFrontsKeepTheirNumbers(t *testing.T) {
	for _, test := range []struct {
		name   string
		noted  string // a letter a place, '-': none
		used   string // places by which clients are there
		wanted string
		want   []int // nil: refused
	}{
		{"the first runner", "----", "", "abc", []int{0, 1, 2}},
		{"the next one", "abc-", "012", "abc", []int{0, 1, 2}},
		{"in another order", "abc-", "012", "cab", []int{2, 0, 1}},
		{"one more in the middle", "ab--", "01", "axb", []int{0, 2, 1}},
		{"one is gone, its clients are not", "ab--", "0", "b", []int{1}},
		{"another one for it", "ab--", "0", "xb", []int{2, 1}},
		{"no place was never used: that of one whose clients are gone", "abcd", "02", "acx", []int{0, 2, 1}},
		{"all others", "abcd", "", "wxyz", []int{0, 1, 2, 3}},
		{"all others, and clients of the old ones", "abcd", "3", "wxyz", nil},
		{"and places for all but one", "abcd", "3", "wxy", []int{0, 1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var noted [arena.MaxFronts]notedFront
			var used [arena.MaxFronts]bool
			for i, letter := range test.noted {
				if letter != '-' {
					noted[i].listen = string(letter)
				}
			}
			for _, digit := range test.used {
				used[digit-'0'] = true
			}
			var wanted []config.Front
			for _, letter := range test.wanted {
				wanted = append(wanted, config.Front{Listen: string(letter)})
			}
			got, err := numberFronts(noted, wanted, used)
			if !slices.Equal(got, test.want) || (err == nil) != (test.want != nil) {
				t.Errorf("%v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestWhatIsNotedOfFrontsIsReadAgain(t *testing.T) {
	a := arena.OnHeap(1)
	want := [arena.MaxFronts]notedFront{
		{":0", kernel.Address{TCP: netip.MustParseAddrPort("[::]:43210")}},
		{"[fe80::1%eth0]:80", kernel.Address{TCP: netip.MustParseAddrPort("[fe80::1%2]:80")}},
		{},
		{"unix:/run/a b:\n.sock", kernel.Address{Unix: "/run/a b:\n.sock"}},
	}
	for n, f := range want {
		if f.listen == "" {
			continue
		}
		if err := a.SetFront(n, f.String()); err != nil {
			t.Fatal(err)
		}
	}
	if got := notedFronts(a); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
