package gpu

import "time"

// crowded is for how long there have to be more contexts than expected.
const crowded = 10 * time.Minute

// Contexts follows how many processes of one life have a context on a device. Each takes some hundred MiB, and a worker has as many
// as it has when it has warmed up: if there are more for long, it leaks processes. That is a warning, and of memory's growth none
// needs to be seen for it. Its zero value is ready.
type Contexts struct {
	warm, settled bool
	from          time.Duration // when it had warmed up
	expected, now int
	above         bool
	since         time.Duration // when the count went above what is expected
	rising        bool
}

// Take adds a count that was taken at a time since some beginning; not ok: there was none to be had, which changes nothing. While
// the life warms up (see Outlook.Stage) nothing is expected of it. In the 15 minutes after that the largest count is.
func (c *Contexts) Take(at time.Duration, n int, stage Stage, ok bool) {
	if !ok {
		return
	}
	c.now = n
	if !c.warm {
		if stage == Warming {
			return
		}
		c.warm, c.from = true, at
	}
	if at-c.from < settled*time.Minute {
		c.expected = max(c.expected, n)
		return
	}
	c.settled = true
	switch {
	case n <= c.expected:
		c.above, c.rising = false, false
	case !c.above:
		c.above, c.since = true, at
	default:
		c.rising = at-c.since >= crowded
	}
}

// Rising says how many contexts are expected, how many there are, and whether there have been too many for 10 minutes; since when
// is set as soon as there are too many. While nothing is expected yet, expected is 0.
func (c *Contexts) Rising() (expected, now int, since time.Duration, rising bool) {
	if !c.settled {
		return 0, c.now, 0, false
	}
	if !c.above {
		return c.expected, c.now, 0, false
	}
	return c.expected, c.now, c.since, c.rising
}

// ContextsMemory is all that has to be remembered of them over a death of ours.
type ContextsMemory struct {
	Warm, Settled, Above, Rising bool
	From, Since                  time.Duration
	Expected, Now                int
}

// Memory returns what is to be remembered.
func (c *Contexts) Memory() ContextsMemory {
	return ContextsMemory{c.warm, c.settled, c.above, c.rising, c.from, c.since, c.expected, c.now}
}

// RecallContexts goes on from what an earlier runner remembered.
func RecallContexts(m ContextsMemory) Contexts {
	return Contexts{warm: m.Warm, settled: m.Settled, above: m.Above, rising: m.Rising, from: m.From, since: m.Since, expected: m.Expected, now: m.Now}
}
