package keeper_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestARunnerWithoutItsKeeperBecomesTheKeeper(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		s.kill(s.runner, unix.SIGKILL)
		s.awaitRunner(2)
		client, err := net.Dial("tcp", "127.0.0.1:"+s.ask("listen", "listening"))
		s.must(err)
		defer client.Close()
		connection := s.ask("accept", "accepted")
		heir := s.runner

		s.kill(s.keeper, unix.SIGKILL)
		s.expect("orphaned")
		// A signal that meets it between its old self and its new one waits, too.
		for came := false; !came; {
			unix.Kill(heir, unix.SIGUSR2)
			came = len(s.lines) > 0
		}
		s.awaitRunner(3)
		check(t, "keeper", s.keeper, heir)

		fmt.Fprint(client, "hello\n")
		s.ask("echo "+connection, "echoed")
		answer := make([]byte, len("3:hello\n"))
		_, err = io.ReadFull(client, answer)
		s.must(err)
		check(t, "answer on the old connection", string(answer), "3:hello\n")

		// The new keeper does all that the old one did.
		s.kill(s.runner, unix.SIGKILL)
		s.awaitRunner(4)
		s.kill(s.keeper, unix.SIGHUP)
		check(t, "runner", s.expect("heard"), "hangup")
		check(t, "page", s.ask("page", "page"), "takeovers=3 leaving=false")
		check(t, "name", s.ask("name", "name"), b.name)
		check(t, "deaths", s.ask("deaths", "deaths"), "[killed by signal 9 (killed) killed by signal 9 (killed)]")
		s.kill(s.keeper, unix.SIGKILL)
		s.expect("orphaned")
		s.awaitRunner(5)
	})
}

func TestAKeeperThatDiesBeforeItsRunnerListensIsNoticed(t *testing.T) {
	s := launch(t, plain, "wait")
	fmt.Sscan(s.expect("waiting"), &s.runner)
	// The death reaches the runner when it hasn't asked for the signal yet.
	s.kill(s.cmd.Process.Pid, unix.SIGKILL)
	s.end()
	s.tell("go on")
	s.awaitRunner(1)
	s.expect("orphaned")
	fmt.Sscan(s.expect("waiting"), &s.runner)
	s.tell("go on")
	s.awaitRunner(2)
	check(t, "name", s.ask("name", "name"), "plain")
}

func TestNobodyElseMayLookInside(t *testing.T) {
	s := prepare(t, plain)
	if os.Geteuid() == 0 {
		s.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	s.start()
	s.awaitRunner(1)
	check(t, "dumpable before Start, as the keeper is", s.ask("dumpable", "dumpable"), "0")

	// And without rights an orphan finds its own file all the same.
	s.kill(s.keeper, unix.SIGKILL)
	s.expect("orphaned")
	s.awaitRunner(2)
	s.kill(s.runner, unix.SIGKILL)
	s.awaitRunner(3)
	check(t, "dumpable after it all", s.ask("dumpable", "dumpable"), "0")
}

func TestWithoutAKeeper(t *testing.T) {
	for name, environment := range map[string]string{"AUTOGLM_SIDECAR_NO_KEEPER=1": "is set", "PATH=": "streams survive"} {
		t.Run(name, func(t *testing.T) {
			s := prepare(t, plain, "nopage")
			s.cmd.Env = []string{name}
			s.start()
			s.expect("runner")
			if info := s.ask("info", "info"); !strings.Contains(info, environment) {
				t.Errorf("info: got %q, expected %q in it", info, environment)
			}
		})
	}
}

// The first instructions of a runner, when there is no Go yet to take the signal: the keeper dies as soon as it is seen
// to have cloned.
func TestAKeeperThatDiesAtTheFirstInstructionsOfItsRunnerIsNoticed(t *testing.T) {
	for range 30 {
		s := prepare(t, plain)
		s.start()
		for comm := ""; comm != "autoglm-keeper"; {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.cmd.Process.Pid))
			s.must(err)
			comm = strings.TrimSpace(string(data))
		}
		s.kill(s.cmd.Process.Pid, unix.SIGKILL)
		s.end()
		for heir := ""; heir == ""; { // "runner" of the first one, perhaps "orphaned", "runner" of the next one
			line, more := s.next()
			if !more {
				t.Fatal("nobody is left")
			}
			fmt.Sscanf(line, "runner %d %d %d", &s.gen, &s.runner, &s.keeper)
			if s.keeper != 0 && s.keeper != s.cmd.Process.Pid {
				heir = line
			}
		}
	}
}
