// Package supervisor keeps one worker alive and replaces it without cutting a stream. START HERE.
//
// A run of the worker is a life, and lives are numbered. A life goes round this way, and most of the time it serves:
//
//	down -> starting -> serving -> draining -> stopping -> reclaiming -> down ...
//
// What to do next is decided by one pure function, Step: given the machine, one event and the time it returns the next
// machine and the effects to perform. It has no clock, starts no goroutine, writes no log, so a million random orders of
// events can be tried on it in seconds. A Supervisor owns the one machine that is real: it performs the effects outside
// of itself, through small ports that others fill in, and feeds what comes of them back as events.
//
// Four rules hold whatever happens, and each has its place in the code:
//
//   - A life is stopped on purpose only when the gate, holding, has said that no stream is in flight on it, or after those
//     streams were cut by a permission that a person or a grave reason gave (judge, in drain.go).
//   - Never two workers: the machine is noted in a record before any effect is performed, a start included, and a runner
//     that finds such a note looks for the life before it starts another (takeover.go).
//   - Never none for good: in each state something is pending that leads out of it, a timer, an answer or an exit. Only a
//     person's stop, and being halted after too many crashes, wait for a person, and then the gate refuses: nobody waits in
//     vain.
//   - Every event and every timer names its life, and what an older life sends is dropped before anything looks at it
//     (Step, in step.go).
//
// A good order to read: machine.go (the states), event.go (what happens and what is done about it), step.go (the table),
// then the chapters start.go, drain.go, stop.go, crash.go, command.go and takeover.go, in which each action is a few lines.
// supervisor.go is the loop around it; ports.go what it needs of others. A worker that is somebody else's to start and stop
// needs none of this: fixed.go.
package supervisor
