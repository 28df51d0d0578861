package tcpdiag_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"autoglm-sidecar/sockets/tcpdiag"

	"golang.org/x/sys/unix"
)

// The test binary runs itself again as one of these processes.
const (
	roleVariable = "TCPDIAG_TEST_ROLE"
	roleListener = "listener" // listens on the address of its arguments, says so, stays until its input ends
	roleParent   = "parent"   // listens, leaves the socket to a child of role heir, and is gone
	roleHeir     = "heir"     // holds descriptor 3, says its PID, stays until its input ends

	noExitDelay = "GORACE=atexit_sleep_ms=0"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case roleListener:
		must(listen(os.Args[1], os.Args[2]))
		fmt.Println(os.Getpid())
		io.Copy(io.Discard, os.Stdin)
	case roleParent:
		l := must(listen(os.Args[1], os.Args[2]))
		heir := exec.Command(os.Args[0])
		heir.Env = []string{roleVariable + "=" + roleHeir, noExitDelay}
		heir.Stdin, heir.Stdout, heir.Stderr = os.Stdin, os.Stdout, os.Stderr
		heir.ExtraFiles = []*os.File{must(l.(*net.UnixListener).File())}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		if err := heir.Start(); err != nil {
			panic(err)
		}
	case roleHeir:
		fmt.Println(os.Getpid())
		io.Copy(io.Discard, os.Stdin)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// listen shares its port with whoever wants it too.
func listen(network, address string) (net.Listener, error) {
	shared := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if network == "unix" {
			return nil
		}
		failed := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(failed, err)
	}}
	shared.SetMultipathTCP(false)
	return shared.Listen(context.Background(), network, address)
}

// process starts this binary in a role and returns the PID that it says. It ends with the test.
func process(t *testing.T, role, network, address string) int {
	t.Helper()
	cmd := exec.Command(must(os.Executable()), network, address)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, noExitDelay)
	cmd.Stderr = os.Stderr
	in := must(cmd.StdinPipe())
	out := must(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s did not say its PID: %v", role, err)
	}
	if role == roleParent {
		if _, err := cmd.Process.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		in.Close()
		io.Copy(io.Discard, out) // ends with the last holder of the pipe
		cmd.Wait()
	})
	return must(strconv.Atoi(strings.TrimSpace(said)))
}

func listening(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func wantOwners(t *testing.T, network, address string, want ...int) {
	t.Helper()
	slices.Sort(want)
	got, err := tcpdiag.Owners(network, address)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("owners of %s %s: got %v and error %v, want %v", network, address, got, err, want)
	}
}

func TestOwnerOfAPort(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		wantOwners(t, "tcp", listening(t, "tcp", address).Addr().String(), os.Getpid())
	}
	everywhere := listening(t, "tcp", ":0").Addr().(*net.TCPAddr).Port
	for _, host := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		wantOwners(t, "tcp", net.JoinHostPort(host, strconv.Itoa(everywhere)), os.Getpid())
	}
	wantOwners(t, "tcp", listening(t, "tcp4", "0.0.0.0:0").Addr().String(), os.Getpid())
}

func TestBothOwnersOfASharedPortAreNamed(t *testing.T) {
	ours := listening(t, "tcp", "127.0.0.1:0")
	theirs := process(t, roleListener, "tcp", ours.Addr().String())
	wantOwners(t, "tcp", ours.Addr().String(), os.Getpid(), theirs)
}

func TestOwnedBy(t *testing.T) {
	ours := listening(t, "tcp", "127.0.0.1:0").Addr().String()
	shared := listening(t, "tcp", "127.0.0.1:0").Addr().String()
	socket := filepath.Join(t.TempDir(), "ours.sock")
	listening(t, "unix", socket)
	theirs := process(t, roleListener, "tcp", shared)
	us, them, gone := os.Getpid(), theirs, 1<<22+1
	for _, tt := range []struct {
		network, address string
		pids             []int
		want             bool
	}{
		{"tcp", ours, []int{us}, true},
		{"tcp", ours, []int{them, us, gone}, true},
		{"tcp", ours, []int{them}, false},
		{"tcp", ours, nil, false},
		{"tcp", shared, []int{us}, false},
		{"tcp", shared, []int{us, them}, true},
		{"unix", socket, []int{us, them}, true},
		{"unix", socket, []int{them}, false},
	} {
		got, err := tcpdiag.OwnedBy(tt.network, tt.address, tt.pids)
		if err != nil || got != tt.want {
			t.Errorf("%s %s owned by %v: got %v and error %v, want %v (we are %d)", tt.network, tt.address, tt.pids, got, err, tt.want, us)
		}
	}
	if _, err := tcpdiag.OwnedBy("unix", socket+".absent", []int{us}); !errors.Is(err, tcpdiag.ErrNobody) {
		t.Errorf("a socket that is not there: got %v, want %v", err, tcpdiag.ErrNobody)
	}
}

func TestOwnerOfThePortIsWhoeverTheKernelConnectsTo(t *testing.T) {
	ours := listening(t, "tcp", "127.0.0.1:0").Addr().(*net.TCPAddr)
	theirs := process(t, roleListener, "tcp4", fmt.Sprintf("0.0.0.0:%d", ours.Port))
	wantOwners(t, "tcp", ours.String(), os.Getpid())
	wantOwners(t, "tcp", fmt.Sprintf("127.0.0.2:%d", ours.Port), theirs)
}

// The kernel is the oracle: of sockets bound to each set of addresses at one port, the one that a connection reaches
// must be the one that is thought nearest.
func TestNearestListenerIsTheKernelsChoice(t *testing.T) {
	bound := []struct{ network, host string }{
		{"tcp4", "127.0.0.1"}, {"tcp4", "0.0.0.0"}, {"tcp", "::"}, {"tcp6", "::1"}, {"tcp6", "::"},
	}
	// ::ffff:127.0.0.1 is not among them: package net binds it as IPv4.
	for set := 1; set < 1<<len(bound); set++ {
		var listeners []*net.TCPListener
		var names []string
		port := "0"
		for i, b := range bound {
			if set&(1<<i) == 0 {
				continue
			}
			l := listening(t, b.network, net.JoinHostPort(b.host, port)).(*net.TCPListener)
			port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
			listeners = append(listeners, l)
			names = append(names, b.network+" "+b.host)
		}
		for _, host := range []string{"127.0.0.1", "::1"} {
			to := net.JoinHostPort(host, port)
			nearest := must(tcpdiag.NearestInodes(netip.MustParseAddrPort(to)))
			chosen := acceptedBy(t, listeners, to)
			switch {
			case chosen == nil && len(nearest) == 0:
			case chosen == nil || !slices.Contains(nearest, inodeOf(t, chosen)) || len(nearest) > 1 && !twoOnAny6(names):
				t.Errorf("listening on %v: a connection to %s reaches %v, thought nearest were %v", names, to, chosen, nearest)
			}
		}
	}
}

// twoOnAny6 reports that two sockets share [::], one of which takes IPv4, too.
func twoOnAny6(names []string) bool {
	return slices.Contains(names, "tcp ::") && slices.Contains(names, "tcp6 ::")
}

// acceptedBy connects and returns the listener whose queue the connection lies in; nil: it was refused.
func acceptedBy(t *testing.T, listeners []*net.TCPListener, to string) *net.TCPListener {
	t.Helper()
	conn, err := net.Dial("tcp", to)
	if err != nil {
		return nil
	}
	defer conn.Close()
	var ready []unix.PollFd
	for _, l := range listeners {
		must(l.SyscallConn()).Control(func(fd uintptr) { ready = append(ready, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) })
	}
	must(unix.Poll(ready, 5000))
	for i, r := range ready {
		if r.Revents != 0 {
			must(listeners[i].Accept()).Close()
			return listeners[i]
		}
	}
	t.Fatalf("connected to %s, and no listener was given the connection", to)
	return nil
}

func inodeOf(t *testing.T, l *net.TCPListener) uint64 {
	t.Helper()
	var stat unix.Stat_t
	must(l.SyscallConn()).Control(func(fd uintptr) {
		if err := unix.Fstat(int(fd), &stat); err != nil {
			t.Fatal(err)
		}
	})
	return stat.Ino
}

func TestOwnerOfASocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b.sock")
	theirs := process(t, roleListener, "unix", path)
	wantOwners(t, "unix", path, theirs)

	alias := filepath.Join(t.TempDir(), "alias.sock")
	if err := os.Symlink(path, alias); err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "unix", alias, theirs)
}

func TestOwnerOfASocketFileIsItsHeirWhenTheListenerIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "left.sock")
	heir := process(t, roleParent, "unix", path)
	wantOwners(t, "unix", path, heir)
}

func TestNobodyListens(t *testing.T) {
	gone := must(net.Listen("tcp", "127.0.0.1:0"))
	gone.Close()
	stale := must(net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "stale.sock")}))
	stale.SetUnlinkOnClose(false)
	stale.Close()
	absent := &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "absent.sock")}
	for _, at := range []net.Addr{gone.Addr(), stale.Addr(), absent} {
		pids, err := tcpdiag.Owners(at.Network(), at.String())
		if !errors.Is(err, tcpdiag.ErrNobody) || len(pids) != 0 {
			t.Errorf("owners of %s: got %v and error %v, want %v", at, pids, err, tcpdiag.ErrNobody)
		}
	}
}

func TestHiddenOwnerIsSaid(t *testing.T) {
	pids, err := tcpdiag.HoldersOf(1<<50, 1234)
	hidden, ok := errors.AsType[*tcpdiag.HiddenError](err)
	if !ok || hidden.UID != 1234 || len(pids) != 0 {
		t.Errorf("holders of a socket that no process shows: got %v and error %v, want a HiddenError of user 1234", pids, err)
	}
}

func TestBadAddressIsAnError(t *testing.T) {
	for _, at := range [][2]string{{"tcp", "localhost:1"}, {"tcp", "127.0.0.1"}, {"udp", "127.0.0.1:1"}} {
		if pids, err := tcpdiag.Owners(at[0], at[1]); err == nil || errors.Is(err, tcpdiag.ErrNobody) {
			t.Errorf("owners of %v: got %v and error %v, want an error about the address", at, pids, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	comm := strings.TrimSpace(string(must(os.ReadFile("/proc/self/comm"))))
	want := fmt.Sprintf("%s (PID %d)", comm, os.Getpid())
	if got := tcpdiag.Describe(os.Getpid()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := tcpdiag.Describe(1 << 30); got != "PID 1073741824" {
		t.Errorf("a process that is gone: got %q", got)
	}
}
