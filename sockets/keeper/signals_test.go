package keeper_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSignalsForTheKeeperReachTheRunner(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		s.kill(s.keeper, unix.SIGHUP)
		check(t, "runner", s.expect("heard"), "hangup")
		s.kill(s.keeper, unix.SIGUSR1)
		check(t, "runner", s.expect("heard"), "user defined signal 1")
		check(t, "page", s.ask("page", "page"), "takeovers=0 leaving=false")
	})
}

func TestTermIsPassedOnEachTimeAndNoted(t *testing.T) {
	s := launch(t, plain)
	for range 2 {
		s.kill(s.keeper, unix.SIGTERM)
		check(t, "runner", s.expect("heard"), "terminated")
	}
	check(t, "page", s.ask("page", "page"), "takeovers=0 leaving=true")

	s.kill(s.runner, unix.SIGKILL) // it is restarted to finish leaving
	s.awaitRunner(2)
	check(t, "page of the next runner", s.ask("page", "page"), "takeovers=1 leaving=true")
	s.tell("exit 0")
	check(t, "keeper", s.end(), "exit status 0")
}

func TestTermThatComesToARunnerWithoutHandlersIsNotLost(t *testing.T) {
	s := launch(t, plain)
	s.kill(s.runner, unix.SIGSTOP) // it can't hear
	s.kill(s.keeper, unix.SIGTERM)
	s.kill(s.runner, unix.SIGKILL)
	s.awaitRunner(2)
	check(t, "page", s.ask("page", "page"), "takeovers=1 leaving=true")
}

func TestQuitIsTheEnd(t *testing.T) {
	for _, signal := range []syscall.Signal{unix.SIGQUIT, unix.SIGABRT} {
		t.Run(signal.String(), func(t *testing.T) {
			s := launch(t, plain)
			s.kill(s.keeper, signal)
			check(t, "keeper", s.end(), "exit status 2") // after Go's traceback
		})
	}
}

func TestATerminalsCtrlCComesOnce(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		terminal, line := openPTY(t)
		s := prepare(t, b)
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = line, line, line
		s.startWith(terminal, terminal)
		s.awaitRunner(1)
		for range 5 {
			_, err := terminal.Write([]byte{3})
			s.must(err)
			check(t, "runner", s.expect("heard"), "interrupt")
			// What the keeper passes on it passes on in order: a second interrupt would come before this.
			s.kill(s.keeper, unix.SIGUSR1)
			check(t, "runner, after the interrupt", s.expect("heard"), "user defined signal 1")
		}
	})
}

// openPTY returns a terminal without echo: the end of the person, and the end of the program.
func openPTY(t *testing.T) (terminal, line *os.File) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(err)
	t.Cleanup(func() { terminal.Close() })
	must(unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	must(err)
	line, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(err)
	t.Cleanup(func() { line.Close() })
	settings, err := unix.IoctlGetTermios(int(line.Fd()), unix.TCGETS)
	must(err)
	settings.Lflag &^= unix.ECHO
	must(unix.IoctlSetTermios(int(line.Fd()), unix.TCSETS, settings))
	return terminal, line
}

func TestAParentThatIgnoresSIGCHLD(t *testing.T) {
	t.Parallel()
	// That is inherited, and with it the keeper would never hear of a death.
	s := prepare(t, plain)
	s.runBy("env", "--ignore-signal=CHLD")
	s.start()
	s.awaitRunner(1)
	s.kill(s.runner, unix.SIGKILL)
	s.awaitRunner(2)
}

func TestSignalsWaitForARunnerThatCanHear(t *testing.T) {
	s := launch(t, plain, "slow")
	s.kill(s.runner, unix.SIGKILL)
	s.expect("slow") // runner 2 is there, has no handlers, and SIGHUP would end it
	s.kill(s.keeper, unix.SIGHUP)
	s.kill(s.keeper, unix.SIGTERM)
	s.tell("go on")
	s.awaitRunner(2)
	heard := map[string]bool{s.expect("heard"): true}
	heard[s.expect("heard")] = true
	check(t, "heard SIGHUP", heard["hangup"], true)
	check(t, "heard SIGTERM", heard["terminated"], true)
}

func TestTheWorkerHasNoSignalBlocked(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		const none = "0000000000000000"
		check(t, "blocked in a child of the first runner", s.ask("mask", "mask"), none)
		s.kill(s.keeper, unix.SIGKILL)
		s.expect("orphaned")
		s.awaitRunner(2)
		check(t, "blocked in a child under the new keeper", s.ask("mask", "mask"), none)
	})
}
