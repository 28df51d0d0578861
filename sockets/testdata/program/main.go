// The tests' runner: it opens a TCP and a unix listener, says where they are, and waits for commands.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets"
	"autoglm-sidecar/sockets/keeper"
)

func main() {
	must(keeper.Start())
	address, path := os.Args[2], os.Args[3]
	front := must(sockets.Listen(context.Background(), "front", keeper.FrontFD, address))
	control := must(sockets.ListenUnix(context.Background(), "control", keeper.ControlFD, path, func() error { return errors.New("in use") }))
	ready()
	for _, l := range []*sockets.Listener{front, control} {
		fmt.Println(l.Name, l.FD, l.Addr, l.Inherited, unix.Getpid())
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "answer":
			for _, l := range []*sockets.Listener{front, control} {
				answer(l)
			}
			fmt.Println("answered")
		case "misplace": // as a runner that dies between bind and the fixed number
			for _, l := range []*sockets.Listener{front, control} {
				must(unix.FcntlInt(uintptr(l.FD), unix.F_DUPFD_CLOEXEC, 200))
				check(keeper.Vacate(l.FD))
			}
			fmt.Println("misplaced")
		case "close":
			check(front.Close())
			check(control.Close())
			fmt.Println("closed")
		}
	}
}

// answer greets one client and hangs up, by way of package net.
func answer(l *sockets.Listener) {
	listener := must(l.NetListener())
	client := must(listener.Accept())
	must(client.Write([]byte("hello " + strconv.FormatInt(keeper.Gen(), 10))))
	check(client.Close())
	check(listener.Close())
}

// ready makes a page, so that the keeper restarts us.
func ready() {
	if keeper.Gen() == 0 {
		return
	}
	if keeper.Gen() == 1 {
		fd := must(unix.MemfdCreate("page", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING))
		check(unix.Ftruncate(fd, 4096))
		must(unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW))
		must(keeper.Place(fd, keeper.ArenaFD))
	}
	memory := must(unix.Mmap(keeper.ArenaFD, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
	page := (*keeper.Page)(unsafe.Pointer(&memory[0]))
	atomic.StoreUint64(&page.Magic, keeper.Magic)
	page.SetReady(0)
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
