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

func TestConnectionsOutliveTheRunner(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		address := "127.0.0.1:" + s.ask("listen", "listening")
		client, err := net.Dial("tcp", address)
		s.must(err)
		defer client.Close()
		connection := s.ask("accept", "accepted")

		for gen := 2; gen <= 6; gen++ {
			s.kill(s.runner, unix.SIGKILL)
			fmt.Fprintf(client, "hello\n") // while nobody runs, perhaps
			s.awaitRunner(gen)
			s.ask("echo "+connection, "echoed")
			answer := make([]byte, len("n:hello\n"))
			_, err := io.ReadFull(client, answer)
			s.must(err)
			check(t, "answer on the old connection", string(answer), fmt.Sprintf("%d:hello\n", gen))
		}
		late, err := net.Dial("tcp", address)
		s.must(err)
		late.Close()
		s.ask("accept", "accepted")
	})
}

func TestDeathsAreNoted(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		s.kill(s.runner, unix.SIGKILL)
		s.awaitRunner(2)
		s.tell("panic")
		s.awaitRunner(3)
		s.kill(s.runner, unix.SIGSEGV)
		s.awaitRunner(4)
		check(t, "deaths", s.ask("deaths", "deaths"), "[killed by signal 9 (killed) panicked (exit status 2) panicked (exit status 2)]")
		check(t, "page", s.ask("page", "page"), "takeovers=3 leaving=false")
	})
}

func TestTheLastRunnersEndIsTheKeepers(t *testing.T) {
	for _, end := range []struct {
		command string
		status  string
	}{
		{"exit 0", "exit status 0"},
		{"exit 7", "exit status 7"},
		{"exit 1", "exit status 1"},
	} {
		t.Run(end.command, func(t *testing.T) {
			s := launch(t, plain)
			s.kill(s.runner, unix.SIGKILL)
			s.awaitRunner(2)
			s.tell(end.command)
			check(t, "keeper", s.end(), end.status)
		})
	}
}

func TestBeforeThereIsAnArenaNothingIsRestarted(t *testing.T) {
	t.Run("exit 2", func(t *testing.T) { // flags that are wrong
		s := launch(t, plain, "nopage")
		s.tell("exit 2")
		check(t, "keeper", s.end(), "exit status 2")
	})
	t.Run("signal", func(t *testing.T) {
		s := launch(t, plain, "nopage")
		s.kill(s.runner, unix.SIGKILL)
		check(t, "keeper", s.end(), "signal: killed")
	})
}

func TestFiveRunnersThatDoNotGetReadyAreTheEnd(t *testing.T) {
	s := launch(t, plain, "unready")
	for gen := 1; gen < 5; gen++ {
		s.kill(s.runner, unix.SIGKILL)
		s.awaitRunner(gen + 1)
	}
	s.tell("panic")
	s.expect("autoglm-sidecar: the keeper gives up:")
	check(t, "keeper", s.end(), "exit status 2")
}

func TestARunnerThatStandsStillIsKilled(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		s.ask("standstill", "standing")
		s.awaitRunner(2)
		s.kill(s.runner, unix.SIGSTOP)
		s.awaitRunner(3)
		const stood = "hung: a loop stood still"
		check(t, "deaths", s.ask("deaths", "deaths"), "["+stood+" "+stood+"]")
	})
}

func TestAStoppedTerminalJobIsNoHang(t *testing.T) {
	t.Parallel()
	s := launch(t, plain)
	s.kill(-s.cmd.Process.Pid, unix.SIGTSTP) // Ctrl-Z
	s.must(unix.Waitid(unix.P_PID, s.keeper, nil, unix.WSTOPPED|unix.WNOWAIT, nil))
	time.Sleep(standstill + time.Second) // what is tested is that this time passes
	s.kill(-s.cmd.Process.Pid, unix.SIGCONT)
	time.Sleep(time.Second) // two looks of the keeper
	check(t, "deaths", s.ask("deaths", "deaths"), "[]")
}

// standstill is what a runner is killed after.
const standstill = 3 * time.Second

func TestRandomNumbersDiffer(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		seen := map[string]bool{s.ask("random", "random"): true}
		for gen := 2; gen <= 4; gen++ {
			s.kill(s.runner, unix.SIGKILL)
			s.awaitRunner(gen)
			number := s.ask("random", "random")
			if seen[number] {
				t.Errorf("runner %d draws %s, as one before it did", gen, number)
			}
			seen[number] = true
		}
	})
}

func TestExitsOfTheWorkerReachTheNextRunner(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		first, second := newGate(t), newGate(t)
		worker := s.ask("worker read line <"+first.path+"; exit 42", "worker")
		s.kill(s.runner, unix.SIGKILL)
		s.awaitRunner(2)
		parent := s.ask("worker (read line <"+second.path+"; exit 43) & exit 0", "worker")
		check(t, "exit of the orphan's parent", s.ask("exits 1", "exit"), parent+" 0")
		s.kill(s.runner, unix.SIGKILL)
		s.awaitRunner(3)
		first.open()
		check(t, "exit of the worker", s.ask("exits 1", "exit"), worker+" 42")
		s.kill(s.runner, unix.SIGKILL)
		second.open()
		s.awaitRunner(4)
		if exit := s.ask("exits 1", "exit"); !strings.HasSuffix(exit, " 43") {
			t.Errorf("exit of the orphan: got %q, expected status 43", exit)
		}
	})
}

// gate is a FIFO that a script waits at.
type gate struct {
	t    *testing.T
	path string
}

func newGate(t *testing.T) gate {
	path := filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return gate{t, path}
}

func (g gate) open() {
	g.t.Helper()
	if err := os.WriteFile(g.path, []byte("go\n"), 0); err != nil {
		g.t.Fatal(err)
	}
}
