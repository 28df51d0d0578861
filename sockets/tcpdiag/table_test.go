package tcpdiag

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Lines as Linux 6.18 prints them on a little-endian machine, as amd64 and arm64 are.
func TestTableIsRead(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F41 0100007F:8002 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 20 4 30 10 -1
   2: 00000000000000000000000000000000:1F40 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100 0 0 10 0
   3: 0000000000000000FFFF00000100007F:1F40 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0000000000000000 100 0 0 10 0
`
	want := []tcpRow{
		{listener{inode: 4711, uid: 1000}, netip.MustParseAddrPort("127.0.0.1:8001"), false},
		{listener{inode: 4713, uid: 0}, netip.MustParseAddrPort("[::]:8000"), false},
		{listener{inode: 4714, uid: 0}, netip.MustParseAddrPort("[::ffff:127.0.0.1]:8000"), false},
	}
	got, err := listening(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(tcpRow{}, listener{}), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("listening sockets (-want +got):\n%s", diff)
	}
}

// sock_diag and the tables of /proc/net tell of the same sockets.
func TestBothSourcesAgree(t *testing.T) {
	for _, at := range []struct{ network, address string }{{"tcp4", "127.0.0.1:0"}, {"tcp", ":0"}, {"tcp6", "[::1]:0"}, {"tcp6", "[::]:0"}} {
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		l, err := config.Listen(t.Context(), at.network, at.address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		asked, err := diagListening(port)
		if err != nil {
			t.Fatal(err)
		}
		if want := at.network == "tcp6"; len(asked) != 1 || asked[0].v6only != want {
			t.Errorf("listening on %s %s: sock_diag tells of %+v, want one with v6only %v", at.network, at.address, asked, want)
		}
		table, err := tableListening()
		if err != nil {
			t.Fatal(err)
		}
		table = slices.DeleteFunc(table, func(r tcpRow) bool { return r.bound.Port() != port })
		for i := range asked {
			asked[i].v6only = false // not listed there
		}
		if diff := cmp.Diff(table, asked, cmp.AllowUnexported(tcpRow{}, listener{}), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("listening on %s %s (-/proc/net +sock_diag):\n%s", at.network, at.address, diff)
		}
	}
}

func TestAMappedSocketFitsAfterOneOfIPv4(t *testing.T) {
	to := netip.MustParseAddrPort("127.0.0.1:1")
	inOrder := []string{"[::1]:1", "[::]:1", "0.0.0.0:1", "[::ffff:127.0.0.1]:1", "127.0.0.1:1"}
	for i, bound := range inOrder {
		if got := fitOf(tcpRow{bound: netip.MustParseAddrPort(bound)}, to); got != fit(i) {
			t.Errorf("a socket bound to %s fits a connection to %s as %d, want %d", bound, to, got, i)
		}
	}
}
