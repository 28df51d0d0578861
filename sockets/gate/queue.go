package gate

import (
	"cmp"
	"container/heap"
	"slices"
)

// queue is who waits: a line for each client address, in which the oldest comes first, and the lines in the order of
// their turns. A line that had its turn goes behind all others, so an address with a thousand streams keeps one with a
// single stream waiting for one turn of each address that came before it, and no longer.
//
// A line's first turn is its first stream's arrival. So the order of those that wait can be restored from their
// arrivals alone; what is lost with a runner is only who had a turn lately. Its zero value is empty.
type queue struct {
	lines  map[uint64]*line // by Ticket.Client; none is empty
	turns  turns
	length int
	queued int   // of them, those whose Ticket says so
	latest int64 // the latest arrival ever seen: whoever arrives from now on is behind it
	served uint64
}

// line is the streams of one client address, by arrival.
type line struct {
	client  uint64
	tickets []Ticket
	turn    int64  // arrival of its first stream, or the latest arrival that was known when it had its turn
	served  uint64 // how many turns were had by anybody when it had its own; of two with the same turn the lower comes first
	at      int    // where it stands in turns
}

// push puts t into its line, at the place that its arrival gives it. A stream that waits already isn't put there twice.
func (q *queue) push(t Ticket) {
	q.latest = max(q.latest, t.Arrived)
	l := q.lines[t.Client]
	if l == nil {
		if q.lines == nil {
			q.lines = map[uint64]*line{}
		}
		l = &line{client: t.Client, turn: t.Arrived}
		q.lines[t.Client] = l
		heap.Push(&q.turns, l)
	}
	i, found := slices.BinarySearchFunc(l.tickets, t, Ticket.compare)
	if found {
		return
	}
	l.tickets = slices.Insert(l.tickets, i, t)
	q.count(t, 1)
	if i == 0 && l.served == 0 && t.Arrived < l.turn {
		l.turn = t.Arrived
		heap.Fix(&q.turns, l.at)
	}
}

// pull takes the stream whose turn is next; there must be one.
func (q *queue) pull() Ticket {
	l := q.turns[0]
	t := l.tickets[0]
	q.served++
	l.turn, l.served = q.latest, q.served
	q.remove(l, 0)
	if len(l.tickets) > 0 {
		heap.Fix(&q.turns, l.at)
	}
	return t
}

// drop takes t out. It says whether it was there.
func (q *queue) drop(t Ticket) bool {
	l := q.lines[t.Client]
	if l == nil {
		return false
	}
	i, found := slices.BinarySearchFunc(l.tickets, t, Ticket.compare)
	if found {
		q.remove(l, i)
	}
	return found
}

func (q *queue) remove(l *line, i int) {
	q.count(l.tickets[i], -1)
	if i == 0 {
		l.tickets = l.tickets[1:] // no move: a long line is mostly left at its front
	} else {
		l.tickets = slices.Delete(l.tickets, i, i+1)
	}
	if len(l.tickets) == 0 {
		delete(q.lines, l.client)
		heap.Remove(&q.turns, l.at)
	}
}

func (q *queue) count(t Ticket, by int) {
	q.length += by
	if t.Queued {
		q.queued += by
	}
}

// oldest is the first arrival of those that were held, not queued; 0 where there is none.
func (q *queue) oldest() (first int64) {
	if q.length == q.queued {
		return 0
	}
	for _, l := range q.turns {
		i := slices.IndexFunc(l.tickets, func(t Ticket) bool { return !t.Queued })
		if i >= 0 && (first == 0 || l.tickets[i].Arrived < first) {
			first = l.tickets[i].Arrived
		}
	}
	return first
}

// turns is a heap of lines: the one whose turn is next comes first.
type turns []*line

func (s turns) Len() int { return len(s) }

func (s turns) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(s[i].turn, s[j].turn), cmp.Compare(s[i].served, s[j].served)) < 0
}

func (s turns) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].at, s[j].at = i, j
}

func (s *turns) Push(x any) {
	l := x.(*line)
	l.at = len(*s)
	*s = append(*s, l)
}

func (s *turns) Pop() any {
	last := len(*s) - 1
	l := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return l
}
