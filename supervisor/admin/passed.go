package admin

import (
	"context"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// passed takes the descriptors that come with the bytes of a connection (SCM_RIGHTS, unix(7)). Whoever passes one has
// opened the file with its own rights and in its own mounts, so nobody can have us open a file that it may not open
// itself, and nothing can be put in its place between a look at it and its use. From a peer that may not act none is
// taken: the kernel closes what a plain read leaves.
type passed struct {
	unix   *net.UnixConn // nil: no descriptor can come
	wanted bool          // set before the first read

	mu   sync.Mutex // guards file
	file *os.File   // the last that came and that nobody has taken
}

// mostPassed is how many are looked at at once. More are closed by the kernel.
const mostPassed = 4

func (p *passed) read(b []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(mostPassed*4))
	n, got, _, _, err := p.unix.ReadMsgUnix(b, oob)
	if got > 0 {
		p.keep(oob[:got])
	}
	return n, err
}

// keep keeps the last descriptor of the messages, and closes all others.
func (p *passed) keep(oob []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			p.put(os.NewFile(uintptr(fd), "passed"))
		}
	}
}

// put replaces the file that is kept; nil: by none.
func (p *passed) put(file *os.File) {
	p.mu.Lock()
	old := p.file
	p.file = file
	p.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

func (p *passed) drop() { p.put(nil) }

// take hands the file over; nil: none came.
func (p *passed) take() *os.File {
	p.mu.Lock()
	defer p.mu.Unlock()
	file := p.file
	p.file = nil
	return file
}

type passedKey struct{}

// meet notes in the context of a connection's requests who the peer is, and lets one that may act pass a descriptor.
func (c control) meet(ctx context.Context, conn net.Conn) context.Context {
	ctx = withPeer(ctx, conn)
	peer, known := peerFrom(ctx)
	b, ok := conn.(*boundedConn)
	if !known || !peer.mayAct(c.owner) || !ok || b.passed.unix == nil {
		return ctx
	}
	b.passed.wanted = true
	return context.WithValue(ctx, passedKey{}, &b.passed)
}

// passedFrom is the file that came with the request; nil: none did.
func passedFrom(ctx context.Context) *os.File {
	if p, ok := ctx.Value(passedKey{}).(*passed); ok {
		return p.take()
	}
	return nil
}
