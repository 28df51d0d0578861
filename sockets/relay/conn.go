package relay

import (
	"net/netip"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/loop"
)

// conn is a lane's side of one slot: a working copy of its record, and what can be found out again after a death.
type conn struct {
	r     arena.Record // working copy; nothing outside sees it before commit
	slot  *arena.Slot
	areas arena.Areas
	index int32
	seq   uint32 // tells this connection's events from those of the one before in the slot

	stream uint32 // tells those of its worker's connections apart
	spared kept   // the worker's connection, if it is to be kept when the record names it no more

	// What the descriptors were last known to be ready for.
	clientIn, clientOut, workerIn, workerOut bool
	// What they are watched for; 0: not at all.
	clientWatch, workerWatch uint32

	connected bool // the worker's connection stands
	worn      bool // its areas hold memory
	lifeGone  bool // its life has exited
	mute      bool // the worker takes no more of the request
	queued    bool // a suspect that waits for its turn
	turn      bool // a suspect whose turn it is

	idleRequest bool // the request's areas are to be wiped when the record says that the answer has begun

	from      netip.Addr // the client's address, once it was asked for; see lane.from
	asked     bool       // and it was
	counted   bool       // among the connections of that address
	patience  patience
	ahead     ahead
	bodyEnd   int64 // of the request, while it is read ahead
	scanned   int   // bytes of the head, or of the answer's, that were looked at
	since     int64 // when the phase began
	lastSent  int64 // when the client was last given something
	lastToken int64 // when a piece of its answer last moved
	lastBeat  int64 // when a heartbeat was last tried
	timerAt   int64 // when the wheel will look at it, 0: never
	retryAt   int64 // when a stream whose connection failed enters again, 0: it waits in the gate's queue
	retries   uint
	bareSince int64 // when the head of its answer came with nothing behind it; 0: it didn't
	judgeAt   int64 // when an answer that ended by the worker's FIN is believed
	closeAt   int64 // when a lingering client is left

	told    bool  // a piece of the answer's body has come since heard was called; see progress.go
	spoken  bool  // one has come at all
	heardAt int64 // when; until then, when the wait for it began

	blocks  []int32     // of the request's copy, in order; see copy.go
	dropped kernel.Conn // to be closed once the record says so
	left    int64       // life that the stream has left, to be told to the gate then
}

// Sides of a connection in an event's token.
const (
	clientSide = iota
	workerSide
)

// A token names a connection's side. A worker's side also has the stream's number on the client's connection, since it
// may go on without that.
func (c *conn) token(side uint64) uint64 {
	return uint64(c.seq)<<32 | uint64(c.stream)*side<<streamAt | uint64(c.index)<<1 | side
}

const (
	streamAt   = 20 // far above the number of slots
	streamMask = 1<<(32-streamAt) - 1
)

func (c *conn) key() uint64 { return c.token(clientSide) }

func (c *conn) worker() kernel.Conn {
	return kernel.Conn{Socket: c.r.Worker, PipeR: c.r.PipeR, PipeW: c.r.PipeW}
}

func (c *conn) client() kernel.Conn {
	return kernel.Conn{Socket: c.r.Client, PipeR: c.r.ClientPipeR, PipeW: c.r.ClientPipeW}
}

// newcomer is the record of a client that has said nothing yet.
func newcomer(client kernel.Conn, front int) arena.Record {
	return arena.Record{
		Client: client.Socket, ClientPipeR: client.PipeR, ClientPipeW: client.PipeW, Front: uint8(front),
		Worker: -1, PipeR: -1, PipeW: -1, Phase: arena.Head,
	}
}

func (c *conn) of(life int64) bool { return c.r.Phase == arena.Relay && c.r.Life == life }

// clientBlocked: there is something for the client and it takes nothing now.
func (c *conn) clientBlocked() bool { return !c.clientOut && c.toClient() > 0 }

// toClient is how many bytes may be sent to the client.
func (c *conn) toClient() int64 { return c.r.Down.Safe - c.slot.Noted.DownGiven }

// toWorker is how many bytes may be sent to the worker.
func (c *conn) toWorker() int64 { return c.r.Up.Safe - c.slot.Noted.UpGiven }

func (c *conn) watchedWorker() bool { return c.r.Worker >= 0 && c.connected }

// unjudgedDown is what was read from the worker, and not judged. Of a stream without one the counts mean nothing: they
// may be those of a connection that was on its way when we died.
func (c *conn) unjudgedDown() []byte {
	if c.r.Worker < 0 {
		return nil
	}
	h := &c.r.Down
	return c.areas.DownIn[h.Judged-h.InBase : c.slot.Noted.DownTaken-h.InBase]
}

// roomUp is the free end of the output towards the worker, roomDown towards the client.
func (c *conn) roomUp() []byte { return c.areas.UpOut[c.r.Up.Out-c.r.Up.OutBase:] }

func (c *conn) roomDown() []byte { return c.areas.DownOut[c.r.Down.Out-c.r.Down.OutBase:] }

// say appends b to the client's output; it must fit.
func (c *conn) say(b []byte) { c.r.Down.Out += int64(copy(c.roomDown(), b)) }

func (c *conn) sayString(s string) { c.r.Down.Out += int64(copy(c.roomDown(), s)) }

// sayChunk appends b as one chunk.
func (c *conn) sayChunk(b []byte) {
	c.sayChunkSize(len(b))
	c.say(b)
	c.sayString("\r\n")
}

// rewind begins an output area anew where everything in it was given. It may stay uncommitted: the record in force
// has nothing to send either.
func rewind(h *arena.Half, given int64) {
	if h.Out == given {
		h.OutBase = given
	}
}

// nearMost is how much input is put near it, in the page that the two areas share: as much as fits there for sure, an
// answer's head among it.
const nearMost = arena.NearSize - headRoom

// rewindDown begins the client's output anew, near the input where there is little of that: see arena.NearSize. What
// can't be given at once is moved to the area's front by the next compact, so nothing lacks room for it.
func (c *conn) rewindDown() {
	h := &c.r.Down
	rewind(h, c.slot.Noted.DownGiven)
	if h.Out == h.OutBase && len(c.unjudgedDown()) <= nearMost {
		h.OutBase -= arena.OutSize - arena.NearSize
	}
}

// compact moves what an output area still holds to its front, where little room is left behind it. It says whether it
// did: then the record must be committed before anything is appended, for the one in force points to where the bytes
// were. A move that would overlap is not made, since a death could tear it.
func compact(h *arena.Half, out []byte, given int64) bool {
	rest, free := h.Out-given, given-h.OutBase
	if rest == 0 || rest > free || h.Out-h.OutBase < int64(len(out))/2 {
		return false
	}
	copy(out, out[free:free+rest])
	h.OutBase = given
	return true
}

// rewindIn begins an input area anew where everything in it was judged. It must be committed before the next read.
func rewindIn(h *arena.Half, taken int64) {
	if h.Judged == taken {
		h.InBase = taken
	}
}

// compactIn moves what lies behind byte end to the front of its area. It may be called only while the record in force
// needs nothing before that byte from the area, and it must be committed before the next read.
func compactIn(h *arena.Half, in []byte, taken, end int64) bool {
	rest, free := taken-end, end-h.InBase
	if free <= 0 || rest > free {
		return false
	}
	copy(in, in[free:free+rest])
	h.InBase = end
	return true
}

// short: a read of want bytes finds no room behind what was taken.
func short(h *arena.Half, in []byte, taken, want int64) bool {
	return taken-h.InBase+want > int64(len(in))
}

// watchFor tells the poller what a descriptor is to be watched for, where that isn't what it is watched for already.
// Being woken for nothing is cheaper than telling it: what is no longer wanted is dropped when it has fired.
func watchFor(p poller, fd int32, token uint64, watched *uint32, want uint32, fired bool) {
	if fd < 0 || want == *watched || want&^*watched == 0 && *watched != 0 && !fired {
		return
	}
	var err error
	switch {
	case *watched == 0:
		err = p.Watch(fd, token, want)
	case want == 0:
		err = p.Unwatch(fd)
	default:
		err = p.Rewatch(fd, token, want)
	}
	if err != nil {
		// Only a lack of kernel memory or a descriptor of ours that isn't one can be behind this. Going on would
		// leave a stream that nobody wakes: die, and let the next runner watch everything anew.
		panic(err)
	}
	*watched = want
}

// poller is what a lane needs of a loop.Poller.
type poller interface {
	Watch(fd int32, token uint64, events uint32) error
	Rewatch(fd int32, token uint64, events uint32) error
	Unwatch(fd int32) error
	Wake()
	Rest(on bool) error
	Run(handle func([]loop.Event) bool, tick func() bool) error
}
