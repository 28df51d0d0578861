package tcpdiag

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// diagListening asks the kernel for the sockets that listen on a port (sock_diag(7)). That takes it microseconds; to
// write the tables of /proc/net it walks over all connections there are.
func diagListening(port uint16) ([]tcpRow, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	defer unix.Close(fd)
	patience := unix.Timeval{Sec: 1} // the kernel answers within the call; this is against what it never does
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, fmt.Errorf("ask sock_diag: %w", err)
	}
	var rows []tcpRow
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := unix.Sendto(fd, diagRequest(family, port), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, fmt.Errorf("ask sock_diag: %w", err)
		}
		rows, err = receiveRows(fd, rows)
		if err != nil {
			return nil, fmt.Errorf("ask sock_diag: %w", err)
		}
	}
	return rows, nil
}

// diagRequest is struct nlmsghdr with a struct inet_diag_req_v2 (linux/inet_diag.h) that asks for all sockets of the
// family in state LISTEN on the port.
func diagRequest(family uint8, port uint16) []byte {
	request := struct {
		Length              uint32
		Type, Flags         uint16
		Sequence, PID       uint32
		Family, Protocol    uint8
		Extensions, _       uint8
		States              uint32
		SourcePort          [2]byte // in network order, as the addresses are
		DestinationPort     [2]byte
		Source, Destination [16]byte
		Interface           uint32
		Cookie              [2]uint32
	}{
		Type: unix.SOCK_DIAG_BY_FAMILY, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP,
		Family: family, Protocol: unix.IPPROTO_TCP, States: 1 << unix.BPF_TCP_LISTEN,
	}
	binary.BigEndian.PutUint16(request.SourcePort[:], port)
	request.Length = uint32(binary.Size(request))
	var b bytes.Buffer
	_ = binary.Write(&b, binary.NativeEndian, request) // fixed fields only, into memory: it can't fail
	return b.Bytes()
}

// receiveRows reads the answer to one request.
func receiveRows(fd int, rows []tcpRow) ([]tcpRow, error) {
	buffer := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return rows, nil
			case unix.NLMSG_ERROR:
				return nil, netlinkError(m.Data)
			}
			row, ok := diagRow(m.Data)
			if !ok {
				return nil, errors.New("an answer too short")
			}
			rows = append(rows, row)
		}
	}
}

// netlinkError is the error in a struct nlmsgerr.
func netlinkError(message []byte) error {
	if len(message) < 4 {
		return errors.New("an error too short")
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(message)))
}

// Offsets in struct inet_diag_msg, and the attribute that says that a socket takes no IPv4 (linux/inet_diag.h).
const (
	diagPort       = 4
	diagAddress    = 8
	diagUID        = 64
	diagInode      = 68
	diagAttributes = 72
	diagV6Only     = 11
)

// diagRow reads a struct inet_diag_msg and its attributes.
func diagRow(message []byte) (tcpRow, bool) {
	if len(message) < diagAttributes {
		return tcpRow{}, false
	}
	size := 16
	if message[0] == unix.AF_INET {
		size = 4
	}
	address, _ := netip.AddrFromSlice(message[diagAddress : diagAddress+size])
	row := tcpRow{
		listener: listener{
			inode: uint64(binary.NativeEndian.Uint32(message[diagInode:])),
			uid:   int(binary.NativeEndian.Uint32(message[diagUID:])),
		},
		bound: netip.AddrPortFrom(address, binary.BigEndian.Uint16(message[diagPort:])),
	}
	const header = 4 // length and kind of an attribute, which is padded to 4 bytes
	for rest := message[diagAttributes:]; len(rest) >= header; {
		length, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if length < header || length > len(rest) {
			return tcpRow{}, false
		}
		if kind == diagV6Only && length > header {
			row.v6only = rest[header] != 0
		}
		rest = rest[min((length+3)&^3, len(rest)):]
	}
	return row, true
}
