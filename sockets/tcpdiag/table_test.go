package tcpdiag

import (
	"net/netip"
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
		{listener{inode: 4711, uid: 1000}, netip.MustParseAddrPort("127.0.0.1:8001")},
		{listener{inode: 4713, uid: 0}, netip.MustParseAddrPort("[::]:8000")},
		{listener{inode: 4714, uid: 0}, netip.MustParseAddrPort("[::ffff:127.0.0.1]:8000")},
	}
	got, err := listening(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(tcpRow{}, listener{}), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("listening sockets (-want +got):\n%s", diff)
	}
}

func TestAMappedSocketFitsAfterOneOfIPv4(t *testing.T) {
	to := netip.MustParseAddrPort("127.0.0.1:1")
	inOrder := []string{"[::1]:1", "[::]:1", "0.0.0.0:1", "[::ffff:127.0.0.1]:1", "127.0.0.1:1"}
	for i, bound := range inOrder {
		if got := fitOf(netip.MustParseAddrPort(bound), to); got != fit(i) {
			t.Errorf("a socket bound to %s fits a connection to %s as %d, want %d", bound, to, got, i)
		}
	}
}
