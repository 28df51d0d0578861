package keeper_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// labelled is another build of the same kind, which says so.
func (b build) labelled(label, flaw string) build {
	args := append([]string{}, b.args...)
	args[len(args)-1] += fmt.Sprintf(" -X main.label=%s -X main.flaw=%s", label, flaw)
	return build{b.name + "-" + label + flaw, b.env, args}
}

// upgradeTo makes the sidecar execute a file, and waits for the runner of that number, the keeper being the same.
func (s *sidecar) upgradeTo(file string, gen int) {
	s.t.Helper()
	s.tell("upgrade " + file)
	s.awaitNext(gen)
}

// awaitNext waits for a runner of the keeper that was there before.
func (s *sidecar) awaitNext(gen int) {
	s.t.Helper()
	before := s.keeper
	s.awaitRunner(gen)
	check(s.t, "keeper", s.keeper, before)
}

func TestAnUpgradeChangesTheProgramAndNothingElse(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		limit, mask := s.ask("limit", "limit"), s.ask("mask", "mask")
		address := "127.0.0.1:" + s.ask("listen", "listening")
		client, err := net.Dial("tcp", address)
		s.must(err)
		defer client.Close()
		connection := s.ask("accept", "accepted")
		gate := newGate(t)
		worker := s.ask("worker read line <"+gate.path+"; echo bye; exit 42", "worker")
		check(t, "label", s.ask("label", "label"), "")

		file := b.labelled("next", "").program(t)
		s.upgradeTo(file, 2)
		check(t, "label", s.ask("label", "label"), "next")
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.keeper))
		s.must(err)
		check(t, "the keeper's file", exe, file)
		check(t, "upgrades", s.ask("upgrades", "upgrades"), "tried=1 undone=0 trial=true failed=0")
		check(t, "deaths", s.ask("deaths", "deaths"), "[killed for an upgrade]")
		check(t, "page", s.ask("page", "page"), "takeovers=1 leaving=false")
		check(t, "what a worker would get", s.ask("cloexec", "cloexec"), "[]")
		check(t, "limit", s.ask("limit", "limit"), limit)
		check(t, "mask", s.ask("mask", "mask"), mask)
		check(t, "name", s.ask("name", "name"), filepath.Base(s.cmd.Path))
		check(t, "dumpable", s.ask("dumpable", "dumpable"), "0")

		fmt.Fprint(client, "hello\n")
		s.ask("echo "+connection, "echoed")
		answer := make([]byte, len("2:hello\n"))
		_, err = io.ReadFull(client, answer)
		s.must(err)
		check(t, "answer on the old connection", string(answer), "2:hello\n")
		gate.open()
		check(t, "exit of the worker", s.ask("exits 1", "exit"), worker+" 42")
		check(t, "its last word", s.ask("output", "output"), `"bye\n"`)
		s.kill(s.keeper, unix.SIGHUP)
		check(t, "heard", s.expect("heard"), "hangup")
		s.tell("exit 0") // not asked to leave, and on trial: the old program comes back
		s.awaitNext(3)
		check(t, "label", s.ask("label", "label"), "")
		s.tell("exit 7")
		check(t, "keeper", s.end(), "exit status 7")
	})
}

func TestAProgramThatFailsItsTrialIsUndone(t *testing.T) {
	for flaw, why := range map[string]string{
		"panic": "panicked (exit status 2)", "exit": "exited with status 3", "hang": "hung: it did not get ready", "late": "panicked (exit status 2)",
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			s := launch(t, plain)
			bad := plain.labelled("bad", flaw).program(t)
			s.tell("upgrade " + bad)
			s.awaitNext(3)
			check(t, "label", s.ask("label", "label"), "")
			check(t, "upgrades", s.ask("upgrades", "upgrades"), "tried=1 undone=1 trial=false failed=2 its runner "+why)
			// What it was before it is again.
			s.tell("panic")
			s.awaitNext(4)
			check(t, "label", s.ask("label", "label"), "")
		})
	}
}

func TestWhatTheKernelDoesNotExecuteIsGivenBack(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no program", 1000)), 0o755); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.WriteFile(closed, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := launch(t, plain)
	limit := s.ask("limit", "limit")
	for i, file := range []string{garbage, closed} {
		s.upgradeTo(file, 2+i)
		check(t, "label", s.ask("label", "label"), "")
		why := []error{unix.ENOEXEC, unix.EACCES}[i]
		check(t, "upgrades", s.ask("upgrades", "upgrades"), fmt.Sprintf("tried=%d undone=%d trial=false failed=%d the kernel did not execute it: %v", i+1, i+1, i+1, why))
		check(t, "what a worker would get", s.ask("cloexec", "cloexec"), "[]")
		check(t, "limit", s.ask("limit", "limit"), limit)
	}
}

func TestUpgradesFollowEachOther(t *testing.T) {
	s := launch(t, plain)
	next := plain.labelled("next", "").program(t)
	for gen := 2; gen <= 11; gen++ {
		s.upgradeTo(next, gen)
		check(t, "label", s.ask("label", "label"), "next")
	}
	check(t, "upgrades", s.ask("upgrades", "upgrades"), "tried=10 undone=0 trial=true failed=0")
	// None of them stood its trial, so the first program is the one to go back to.
	s.kill(s.runner, unix.SIGKILL)
	s.awaitNext(12)
	check(t, "label", s.ask("label", "label"), "")
}

func TestWhatEndsASidecarEndsItOnTrialToo(t *testing.T) {
	for name, end := range map[string]func(*sidecar){
		"exit status 0": func(s *sidecar) {
			s.kill(s.keeper, unix.SIGTERM)
			s.expect("heard")
			s.tell("exit 0")
		},
		"exit status 2": func(s *sidecar) { s.kill(s.keeper, unix.SIGQUIT) },
	} {
		t.Run(name, func(t *testing.T) {
			s := launch(t, plain)
			s.upgradeTo(plain.labelled("next", "").program(t), 2)
			end(s)
			check(t, "keeper", s.end(), name)
		})
	}
}

func TestAKeeperThatDiesDuringATrialLeavesItToItsHeir(t *testing.T) {
	s := launch(t, plain)
	s.upgradeTo(plain.labelled("next", "").program(t), 2)
	s.kill(s.keeper, unix.SIGKILL)
	s.expect("orphaned")
	s.awaitRunner(3)
	check(t, "label", s.ask("label", "label"), "next")
	s.kill(s.runner, unix.SIGKILL)
	s.awaitNext(4)
	check(t, "label", s.ask("label", "label"), "")
}

func TestAProgramThatStandsItsTrialStays(t *testing.T) {
	t.Parallel()
	s := launch(t, plain)
	s.upgradeTo(plain.labelled("next", "").program(t), 2)
	for on := true; on; time.Sleep(time.Second) { // 30 s
		on = strings.Contains(s.ask("upgrades", "upgrades"), "trial=true")
	}
	check(t, "the files of the trial", s.ask("kinds 101 102", "kinds"), "null null")
	s.kill(s.runner, unix.SIGKILL)
	s.awaitNext(3)
	check(t, "label", s.ask("label", "label"), "next")
	check(t, "upgrades", s.ask("upgrades", "upgrades"), "tried=1 undone=0 trial=false failed=0")
}
