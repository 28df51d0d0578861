package reader

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"autoglm-sidecar/gpu"
)

// character is the variable that makes the test's own binary a program that is run.
const character = "READER_CHARACTER"

func TestMain(m *testing.M) {
	name := os.Getenv(character)
	if name == "" {
		os.Exit(m.Run())
	}
	play, ok := characters[name]
	if !ok {
		panic("no character " + name)
	}
	// One that is forgotten doesn't outlive the tests by much.
	time.AfterFunc(time.Minute, func() { os.Exit(99) })
	os.Exit(play())
}

func speak(l gpu.Line) {
	if err := gpu.WriteLine(os.Stdout, l); err != nil {
		os.Exit(98)
	}
}

// tell speaks a text, as the detail of a system.
func tell(format string, args ...any) {
	speak(gpu.Line{System: &gpu.System{Detail: fmt.Sprintf(format, args...)}})
}

func hello() { speak(gpu.Line{Hello: &gpu.Hello{Protocol: gpu.Protocol, Version: "1.2.3"}}) }

// obey reads orders until there are no more.
func obey(each func(gpu.Order)) {
	for orders := gpu.NewLines[gpu.Order](os.Stdin); ; {
		o, err := orders.Next()
		if err != nil {
			return
		}
		each(o)
	}
}

// breathe says that it lives, for ever.
func breathe() int {
	for {
		speak(gpu.Line{Alive: true})
		time.Sleep(50 * time.Millisecond)
	}
}

var characters = map[string]func() int{
	// Repeats each order, and answers. It tells its environment, and ends with its input.
	"good": func() int {
		hello()
		tell("environment %s", strings.Join(os.Environ(), " "))
		obey(func(o gpu.Order) {
			text, _ := json.Marshal(o)
			tell("order %s", text)
			if o.Now != 0 {
				speak(gpu.Line{Sample: &gpu.Sample{Device: "GPU-1", Used: gpu.Bytes(o.Now)}})
				speak(gpu.Line{Done: o.Now})
			}
		})
		return 0
	},
	"of another version": func() int {
		speak(gpu.Line{Hello: &gpu.Hello{Protocol: gpu.Protocol + 1}})
		obey(func(gpu.Order) {})
		return 0
	},
	"mute": func() int {
		hello()
		obey(func(gpu.Order) {})
		select {}
	},
	"hesitant": func() int {
		hello()
		time.Sleep(400 * time.Millisecond)
		return breathe()
	},
	"mortal": func() int {
		fmt.Fprintln(os.Stderr, "it begins\nsymbol lookup error: nvmlInit")
		return 127
	},
	"garbage": func() int {
		hello()
		fmt.Println("usage: garbage [-h]")
		return breathe()
	},
	"rude": func() int { // no hello
		speak(gpu.Line{Alive: true})
		return breathe()
	},
	"huge": func() int {
		hello()
		fmt.Println(`{"system":{"detail":"` + strings.Repeat("x", gpu.MaxLine) + `"}}`)
		return breathe()
	},
	"empty": func() int {
		hello()
		fmt.Println(`{"system":{"library":"reads"},"alive":true}`)
		return breathe()
	},
	"closing": func() int { // its output, and stays
		hello()
		os.Stdout.Close()
		select {}
	},
	"stubborn": func() int { // reads nothing, not even the end of its input
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		hello()
		return breathe()
	},
	"faint": func() int { // ends where it should answer
		hello()
		obey(func(o gpu.Order) {
			if o.Now != 0 {
				fmt.Fprintln(os.Stderr, "asked too much")
				os.Exit(7)
			}
		})
		return 0
	},
	// Leaves two behind: a sibling in its group, and an orphan in another, who holds its output.
	"parent": func() int {
		hello()
		c := exec.Command("/proc/self/exe")
		c.Env = []string{character + "=orphan"}
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			panic(err)
		}
		sibling := exec.Command("/proc/self/exe")
		sibling.Env = []string{character + "=sibling"}
		if err := sibling.Start(); err != nil {
			panic(err)
		}
		tell("sibling %d", sibling.Process.Pid)
		tell("orphan %d", c.Process.Pid)
		return 0
	},
	"sibling": func() int { select {} },
	"chatty": func() int {
		hello()
		for i := range 1000 {
			tell("line %d", i)
		}
		return 0
	},
	"orphan": func() int { // until nobody reads any more
		for {
			speak(gpu.Line{Alive: true})
		}
	},
	// A sidecar, of which the test learns the reader's number.
	"sidecar": func() int {
		r := New(Options{Program: "/proc/self/exe", Environment: environment("mute"), Take: func(gpu.Line) {}})
		go r.Run(context.Background())
		for r.State().Kind != gpu.SourceReads {
			time.Sleep(10 * time.Millisecond)
		}
		fmt.Println(r.State().PID)
		select {}
	},
}
