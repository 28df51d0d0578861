package sim

import (
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// backlog is uvicorn's.
const backlog = 2048

// socket is bound to its address but does not listen yet, so that connecting is refused: vLLM binds before it loads
// its model and listens after.
type socket struct {
	file    *os.File
	address string // as it was asked for
}

// bind binds ADDR as Options.Listen says it. A unix socket's path must not exist: like vLLM it removes no stale file.
// SO_REUSEADDR is set, so that two lives that are loading can both have bound a port; the later one then fails to listen.
func bind(address string, reusePort bool) (*socket, error) {
	family, to, err := sockaddr(address)
	if err != nil {
		return nil, fmt.Errorf("bind %q: %w", address, err)
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("bind %q: %w", address, os.NewSyscallError("socket", err))
	}
	if family != unix.AF_UNIX {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err == nil && reusePort {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	}
	if err == nil {
		err = unix.Bind(fd, to)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind %q: %w", address, os.NewSyscallError("bind", err))
	}
	return &socket{file: os.NewFile(uintptr(fd), address), address: address}, nil
}

func sockaddr(address string) (family int, to unix.Sockaddr, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return unix.AF_UNIX, &unix.SockaddrUnix{Name: path}, nil
	}
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return 0, nil, err
	}
	if ip := tcp.IP.To4(); ip != nil || tcp.IP == nil {
		return unix.AF_INET, &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(append(ip, 0, 0, 0, 0))}, nil
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: tcp.Port, Addr: [16]byte(tcp.IP)}, nil
}

// listen lets clients connect. The listener has its own descriptor.
func (s *socket) listen() (net.Listener, error) {
	if err := unix.Listen(int(s.file.Fd()), backlog); err != nil {
		return nil, fmt.Errorf("listen on %q: %w", s.address, os.NewSyscallError("listen", err))
	}
	listener, err := net.FileListener(s.file)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", s.address, err)
	}
	s.close()
	return listener, nil
}

// close gives up the socket, unless a listener has taken it over.
func (s *socket) close() { s.file.Close() }
