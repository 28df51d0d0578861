package keeper_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What lies on disk may have changed by the time of a take-over, as "find" gives something else each time here.
func TestEachRunnerGoesByWhatTheFirstFound(t *testing.T) {
	onEach(t, func(t *testing.T, b build) {
		s := launch(t, b)
		check(t, "what the first runner found", s.ask("find first", "found"), "first")
		check(t, "asked again", s.ask("find another", "found"), "first")
		s.kill(s.runner, unix.SIGKILL)
		s.awaitRunner(2)
		check(t, "what the second runner goes by", s.ask("find second", "found"), "first")
		s.kill(s.keeper, unix.SIGKILL)
		s.expect("orphaned")
		s.awaitRunner(3)
		check(t, "what a runner of another keeper goes by", s.ask("find third", "found"), "first")
	})
}
