package tcpdiag

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

func tcpOwners(candidates among, address string) ([]int, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("who listens on %s: %w", address, err)
	}
	nearest, err := nearestListeners(netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	if err != nil {
		return nil, fmt.Errorf("who listens on %s: %w", address, err)
	}
	if len(nearest) == 0 {
		return nil, ErrNobody
	}
	return holders(candidates, nearest)
}

// nearestListeners returns the listening sockets that the kernel chooses among for a connection to the address: those
// that fit it best, and more than one only where they share the port by SO_REUSEPORT.
func nearestListeners(to netip.AddrPort) ([]listener, error) {
	rows, err := diagListening(to.Port())
	if err != nil { // a kernel without sock_diag, or one that does not load it in a container
		rows, err = tableListening()
	}
	if err != nil {
		return nil, err
	}
	best := unfit
	var nearest []listener
	for _, row := range rows {
		fit := fitOf(row, to)
		if fit > best {
			best, nearest = fit, nil
		}
		if fit == best && fit != unfit {
			nearest = append(nearest, row.listener)
		}
	}
	return nearest, nil
}

// tcpRow is a listening socket with the address that it is bound to. The address of an IPv6 socket is one of 16
// bytes, even where it stands for an IPv4 address.
type tcpRow struct {
	listener
	bound  netip.AddrPort
	v6only bool // [::] takes no IPv4; known from sock_diag only
}

// tableListening reads all listening sockets from /proc/net.
func tableListening() ([]tcpRow, error) {
	var rows []tcpRow
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			continue
		}
		if err != nil {
			return nil, err
		}
		more, err := listening(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", table, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// tcpListen is TCP_LISTEN of include/net/tcp_states.h as the table writes it.
const tcpListen = "0A"

// listening reads the listening sockets of a table as proc_pid_net(5) describes it.
func listening(table io.Reader) ([]tcpRow, error) {
	var rows []tcpRow
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...
		field := strings.Fields(lines.Text())
		if len(field) < 10 || field[3] != tcpListen {
			continue
		}
		bound, err := parseBound(field[1])
		if err != nil {
			return nil, err
		}
		uid, err := strconv.Atoi(field[7])
		if err != nil {
			return nil, fmt.Errorf("user id: %w", err)
		}
		inode, err := strconv.ParseUint(field[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("inode: %w", err)
		}
		rows = append(rows, tcpRow{listener: listener{inode: inode, uid: uid}, bound: bound})
	}
	return rows, lines.Err()
}

// parseBound reads ADDRESS:PORT in hexadecimal. The address is written as numbers of 32 bits in this machine's byte
// order, each holding four bytes in network order.
func parseBound(text string) (netip.AddrPort, error) {
	words, portText, _ := strings.Cut(text, ":")
	port, err := strconv.ParseUint(portText, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port: %w", err)
	}
	var address []byte
	for len(words) >= 8 {
		word, err := strconv.ParseUint(words[:8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("address: %w", err)
		}
		address = binary.NativeEndian.AppendUint32(address, uint32(word))
		words = words[8:]
	}
	ip, ok := netip.AddrFromSlice(address)
	if !ok || words != "" {
		return netip.AddrPort{}, fmt.Errorf("address: %q", text)
	}
	return netip.AddrPortFrom(ip, uint16(port)), nil
}

// fit is how well a bound address fits a connection's destination. The kernel takes the greatest: the same address
// before any address, a socket of IPv4 before one of IPv6 that also takes IPv4 (compute_score and
// __inet_lookup_listener, net/ipv4/inet_hashtables.c).
type fit int

const (
	unfit fit = iota
	anyMapped
	anyAddress
	sameMapped
	sameAddress
)

// fitOf judges where a socket is bound.
func fitOf(row tcpRow, to netip.AddrPort) fit {
	at, mapped := row.bound.Addr(), row.bound.Addr().Is6() && to.Addr().Is4()
	switch {
	case row.bound.Port() != to.Port() || mapped && row.v6only:
		return unfit
	case at.Unmap() == to.Addr() && mapped:
		return sameMapped
	case at == to.Addr():
		return sameAddress
	case !at.IsUnspecified() || at.Is4() && to.Addr().Is6():
		return unfit
	case mapped:
		return anyMapped
	default:
		return anyAddress
	}
}
