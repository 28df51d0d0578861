// The tests' runner: it does on stdin's command what a runner may do or suffer, and prints one line about it. All
// runners of one keeper read from the same pipe, so the test waits for each answer before it sends the next command.
package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/keeper"
)

// page is the whole of this program's arena.
var page *keeper.Page

// ticking is what keeps the runner from being killed as a hanging one.
var ticking atomic.Bool

// label and flaw are set by the linker: which build this is, and what is wrong with it.
var label, flaw string

// suffer does what is wrong with this build, before it is ready.
func suffer() {
	switch flaw {
	case "panic":
		panic("as built")
	case "exit":
		os.Exit(3)
	case "hang":
		time.Sleep(time.Hour) // Go ends a program in which nothing can ever happen again: that would be a panic
	}
}

func main() {
	suffer()
	random := rand.Uint64()
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	strays := must(keeper.Strays())
	if flagged("wait") {
		say("waiting %d", os.Getpid())
		readLine()
	}
	if flagged("slow") && keeper.Gen() > 1 {
		say("slow")
		readLine()
	}
	info := must(keeper.Start())
	if !flagged("nopage") {
		openPage()
	}
	heard := make(chan os.Signal, 16)
	signal.Notify(heard, unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1)
	if page != nil && !flagged("unready") {
		ticking.Store(true)
		page.SetReady(1)
		go tick()
	}
	if flaw == "late" {
		panic("after it was ready, as built")
	}
	say("runner %d %d %d", keeper.Gen(), os.Getpid(), info.Keeper)
	go report(heard)
	go succeed()
	for {
		obey(readLine(), info, random, dumpable, strays)
	}
}

func obey(command string, info keeper.Info, random uint64, dumpable int, strays []int) {
	verb, rest, _ := strings.Cut(command, " ")
	switch verb {
	case "panic":
		panic("as told")
	case "exit":
		os.Exit(must(strconv.Atoi(rest)))
	case "standstill":
		ticking.Store(false)
		say("standing")
	case "deaths":
		say("deaths %v", page.LastDeaths())
	case "page":
		say("page takeovers=%d leaving=%v", page.Takeovers, page.IsLeaving())
	case "info":
		say("info %v", info)
	case "random":
		say("random %d", random)
	case "dumpable":
		say("dumpable %d", dumpable)
	case "strays":
		say("strays %v", strays)
	case "limit":
		out := must(exec.Command("sh", "-c", "ulimit -Sn").Output())
		say("limit %d %s", info.FileLimit.Cur, strings.TrimSpace(string(out)))
	case "hardlimit":
		say("hardlimit %d", info.FileLimit.Max)
	case "mask":
		out := must(exec.Command("grep", "SigBlk", "/proc/self/status").Output())
		say("mask %s", strings.Fields(string(out))[1])
	case "name":
		say("name %s", strings.TrimSpace(string(must(os.ReadFile("/proc/self/comm")))))
	case "listen":
		listen()
	case "accept":
		fd, _, err := unix.Accept4(keeper.FrontFD, unix.SOCK_CLOEXEC)
		check(err)
		say("accepted %d", fd)
	case "echo":
		echo(must(strconv.Atoi(rest)))
	case "open":
		openAll(must(strconv.Atoi(rest)))
	case "occupy":
		occupy(must(strconv.Atoi(rest)))
	case "output":
		output()
	case "find":
		say("found %s", must(keeper.Founding(func() ([]byte, error) { return []byte(rest), nil })))
	case "kinds":
		kinds(rest)
	case "worker":
		worker(rest)
	case "exits":
		readExits(must(strconv.Atoi(rest)))
	case "label":
		say("label %s", label)
	case "upgrade":
		check(keeper.Upgrade(page, must(unix.Open(rest, unix.O_RDONLY|unix.O_CLOEXEC, 0))))
	case "upgrades":
		u := page.Upgraded(0)
		say("upgrades tried=%d undone=%d trial=%v failed=%d %s", u.Tried, u.Undone, u.OnTrial, u.Failed, u.Why)
	case "cloexec":
		cloexec()
	case "vacate":
		check(keeper.Vacate(keeper.FrontFD))
		say("vacated")
	default:
		panic("unknown command " + command)
	}
}

func openPage() {
	if _, err := unix.FcntlInt(keeper.ArenaFD, unix.F_GET_SEALS, 0); err != nil {
		fd := must(unix.MemfdCreate("page", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING))
		check(unix.Ftruncate(fd, 4096))
		must(unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW))
		at := must(keeper.Place(fd, keeper.ArenaFD))
		memory := must(unix.Mmap(at, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
		page = (*keeper.Page)(unsafe.Pointer(&memory[0]))
		atomic.StoreUint64(&page.Magic, keeper.Magic)
		return
	}
	memory := must(unix.Mmap(keeper.ArenaFD, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
	page = (*keeper.Page)(unsafe.Pointer(&memory[0]))
}

func tick() {
	for range time.Tick(50 * time.Millisecond) {
		if ticking.Load() {
			page.Tick(0)
		}
	}
}

func report(heard <-chan os.Signal) {
	for s := range heard {
		say("heard %v", s)
	}
}

// succeed takes the dead keeper's place.
func succeed() {
	<-keeper.Bereaved(context.Background())
	say("orphaned")
	check(keeper.BecomeKeeper())
}

func listen() {
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	check(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(unix.Listen(fd, 16))
	at := must(keeper.Place(fd, keeper.FrontFD))
	address := must(unix.Getsockname(at)).(*unix.SockaddrInet4)
	say("listening %d", address.Port)
}

// echo sends one line of the connection back, with the number of the runner that did so.
func echo(fd int) {
	buffer := make([]byte, 100)
	n := must(unix.Read(fd, buffer))
	must(unix.Write(fd, fmt.Appendf(nil, "%d:%s", keeper.Gen(), buffer[:n])))
	say("echoed")
}

// openAll opens one descriptor of each kind that a runner has, at numbers from first on.
func openAll(first int) {
	pair := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	var pipe [2]int
	check(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	for i, fd := range []int{
		pair[0], pipe[0],
		must(unix.Open("/etc/passwd", unix.O_RDONLY|unix.O_CLOEXEC, 0)), must(unix.EpollCreate1(unix.EPOLL_CLOEXEC)),
		must(unix.Eventfd(0, unix.EFD_CLOEXEC)), must(unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)),
		must(unix.PidfdOpen(os.Getpid(), 0)),
	} {
		check(unix.Dup3(fd, first+i, unix.O_CLOEXEC))
		check(unix.Close(fd))
	}
	check(unix.Close(pair[1]))
	check(unix.Close(pipe[1]))
	say("opened")
}

// occupy takes all numbers below limit with sockets.
func occupy(limit int) {
	for {
		fd := must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		if fd >= limit {
			say("occupied")
			return
		}
	}
}

// kinds says what the numbers are: socket, pipe, null, other or closed.
func kinds(numbers string) {
	var kinds []string
	for _, number := range strings.Fields(numbers) {
		var stat unix.Stat_t
		fd := must(strconv.Atoi(number))
		switch err := unix.Fstat(fd, &stat); {
		case err != nil:
			kinds = append(kinds, "closed")
		case stat.Mode&unix.S_IFMT == unix.S_IFSOCK:
			kinds = append(kinds, "socket")
		case stat.Mode&unix.S_IFMT == unix.S_IFIFO:
			kinds = append(kinds, "pipe")
		case stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == unix.Mkdev(1, 3):
			kinds = append(kinds, "null")
		default:
			kinds = append(kinds, "other")
		}
	}
	say("kinds %s", strings.Join(kinds, " "))
}

// cloexec says which descriptors a child would get.
func cloexec() {
	var through []int
	for fd := 3; fd < 200; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			through = append(through, fd)
		}
	}
	say("cloexec %v", through)
}

// worker starts a child of the keeper, as a driver does.
func worker(script string) {
	c := exec.Command("sh", "-c", script)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT}
	output := os.NewFile(uintptr(must(unix.Dup(keeper.OutputWriteFD))), "output")
	c.Stdout, c.Stderr = output, output
	check(c.Start())
	check(output.Close())
	say("worker %d", c.Process.Pid)
}

// output says what the worker has printed and nobody read.
func output() {
	buffer := make([]byte, 1000)
	n, err := unix.Read(keeper.OutputReadFD, buffer)
	if err != nil {
		say("output %v", err)
		return
	}
	say("output %q", buffer[:n])
}

// readExits waits for that many.
func readExits(wanted int) {
	ctx, enough := context.WithCancel(context.Background())
	defer enough()
	_ = keeper.ReadExits(ctx, func(e keeper.Exit) {
		say("exit %d %d", e.PID, e.Status.ExitStatus())
		if wanted--; wanted == 0 {
			enough()
		}
	})
}

// commands is stdin, read without reading ahead: the next runner may be meant.
var commands = bufio.NewReaderSize(oneByOne{}, 16)

type oneByOne struct{}

func (oneByOne) Read(p []byte) (int, error) { return os.Stdin.Read(p[:1]) }

func readLine() string {
	line, err := commands.ReadString('\n')
	if err != nil {
		os.Exit(0) // the test is over
	}
	return strings.TrimSpace(line)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }

func flagged(word string) bool { return slices.Contains(os.Args[1:], word) }

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

var _ net.Conn // the race build is to have what package net links in
