package relay

import (
	"net/netip"
	"testing"
)

func TestAHouseholdIsAnAddressOrANetwork(t *testing.T) {
	for _, test := range []struct {
		a, b string
		one  bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:0:0:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"::1", "127.0.0.1", false},
		{"fe80::1%eth0", "fe80::2%eth0", true},
		{"", "0.0.0.0", false},
	} {
		a, _ := netip.ParseAddr(test.a)
		b, _ := netip.ParseAddr(test.b)
		if one := household(a) == household(b); one != test.one {
			t.Errorf("%q and %q are one client: %v, want %v", test.a, test.b, one, test.one)
		}
	}
}
