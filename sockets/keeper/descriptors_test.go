package keeper_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFixedNumbersAreOccupied(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		check(t, "kinds", s.ask("kinds 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116", "kinds"),
			"null null pipe pipe null null null pipe pipe null null null null null null closed")
		s.ask("listen", "listening")
		check(t, "a placed listener", s.ask("kinds 105", "kinds"), "socket")
		s.ask("vacate", "vacated")
		check(t, "a vacated number", s.ask("kinds 105", "kinds"), "null")
	})
}

func TestTheSweepKeepsSocketsAndPipes(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		const numbers = " 200 201 202 203 204 205 206"
		s.ask("open 200", "opened")
		s.ask("open 9000", "opened") // far behind a gap
		check(t, "before", s.ask("kinds"+numbers+" 9000", "kinds"), "socket pipe other other other other other socket")
		s.kill(s.runner, unix.SIGKILL)
		s.awaitRunner(2)
		check(t, "after", s.ask("kinds"+numbers, "kinds"), "socket pipe closed closed closed closed closed")
		check(t, "after, far away", s.ask("kinds 9000 9001 9002 9006", "kinds"), "socket pipe closed closed")
		check(t, "fixed", s.ask("kinds 103 109", "kinds"), "pipe pipe")
		strays := strings.Fields(strings.Trim(s.ask("strays", "strays"), "[]"))
		for _, fd := range []string{"200", "201", "9000", "9001"} {
			check(t, fd+" is a stray", slices.Contains(strays, fd), true)
		}
		for _, fd := range []string{"0", "103", "109", "202", "9002"} {
			check(t, fd+" is a stray", slices.Contains(strays, fd), false)
		}
	})
}

func TestTheFileLimitIsTheWorkersOwn(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := prepare(t, b)
		limitTo300(s)
		s.start()
		s.awaitRunner(1)
		check(t, "limit noted, limit of a child", s.ask("limit", "limit"), "300 300")
		s.kill(s.runner, unix.SIGKILL)
		s.awaitRunner(2)
		check(t, "limit noted, limit of a child", s.ask("limit", "limit"), "300 300")
	})
}

// The keeper's own limit stays raised: with the lower numbers taken it still has to open a directory.
func TestTheSweepWorksAboveTheSoftLimit(t *testing.T) {
	s := prepare(t, plain)
	limitTo300(s)
	s.start()
	s.awaitRunner(1)
	s.ask("occupy 500", "occupied")
	s.ask("open 600", "opened")
	s.kill(s.runner, unix.SIGKILL)
	s.awaitRunner(2)
	check(t, "after", s.ask("kinds 600 601 602 606", "kinds"), "socket pipe closed closed")
}

// limitTo300 sets the soft limit that the program finds; the hard one stays.
func limitTo300(s *sidecar) { s.runBy("sh", "-c", `ulimit -Sn 300; exec "$0" "$@"`) }

// So that it never has to grow while it is shared.
func TestTheTableIsLargeFromTheStart(t *testing.T) {
	s := prepare(t, plain)
	limitTo300(s)
	s.start()
	s.awaitRunner(1)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.keeper))
	s.must(err)
	var size, limit int
	_, after, _ := strings.Cut(string(status), "FDSize:")
	fmt.Sscan(after, &size)
	fmt.Sscan(s.ask("hardlimit", "hardlimit"), &limit)
	if size < min(1<<16, limit/2) {
		t.Errorf("table of %d descriptors, with a hard limit of %d", size, limit)
	}
}

func TestTheWorkersOutputWaitsForTheNextRunner(t *testing.T) {
	s := launch(t, plain)
	gate := newGate(t)
	worker := s.ask("worker echo first; read line <"+gate.path+"; echo second", "worker")
	s.kill(s.runner, unix.SIGKILL)
	gate.open()
	s.awaitRunner(2)
	check(t, "exit of the worker", s.ask("exits 1", "exit"), worker+" 0")
	check(t, "output", s.ask("output", "output"), `"first\nsecond\n"`)
	check(t, "output of a worker that is silent", s.ask("output", "output"), "resource temporarily unavailable")
}
