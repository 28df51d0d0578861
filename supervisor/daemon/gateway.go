package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/relay"
	"autoglm-sidecar/supervisor"
)

// resolveEvery is how often the name of an upstream is looked up again.
const resolveEvery = 10 * time.Second

// gateway is the gate as the supervisor knows it. It also finds out what address an upstream's name has, away from
// the loops and from the supervisor: while there is none the gate holds, and the last good one stays.
type gateway struct {
	relay *relay.Relay
	log   *slog.Logger
	again chan struct{} // look up now: a connection has failed

	mu   sync.Mutex          // guards what follows, and the order of what is told to the relay
	life supervisor.Life     // that the gate is to be open for, 0: none
	to   supervisor.Upstream // of it
	at   kernel.Address      // what to resolved to
}

func newGateway(log *slog.Logger) *gateway {
	return &gateway{log: log, again: make(chan struct{}, 1)}
}

// Open implements supervisor.Gate.
func (g *gateway) Open(life supervisor.Life, to supervisor.Upstream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if to != g.to {
		g.at = literal(to)
	}
	g.life, g.to = life, to
	if g.at != (kernel.Address{}) {
		g.relay.Open(int64(life), g.at)
		return
	}
	g.lookAgain()
}

// Hold implements supervisor.Gate.
func (g *gateway) Hold(life supervisor.Life) (inFlight int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.life == life {
		g.life = 0
	}
	return g.relay.Gate().Hold(int64(life))
}

// Refuse implements supervisor.Gate.
func (g *gateway) Refuse(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.life = 0
	g.relay.Gate().Refuse(reason)
}

// Leave implements supervisor.Gate.
func (g *gateway) Leave() { g.relay.Gate().Leave() }

// Cut implements supervisor.Gate.
func (g *gateway) Cut(life supervisor.Life, cause supervisor.CutCause) {
	switch cause {
	case supervisor.CutCrash:
		g.relay.LifeGone(int64(life))
	case supervisor.CutDeadline:
		g.relay.Cut(int64(life), arena.Deadline)
	case supervisor.CutOperator:
		g.relay.Cut(int64(life), arena.Operator)
	}
}

// lookAgain asks for the address of a name whose connection has failed. It doesn't wait.
func (g *gateway) lookAgain() {
	select {
	case g.again <- struct{}{}:
	default: // it is asked already
	}
}

// literal is the address of an upstream that needs no looking up, zero for one that does.
func literal(to supervisor.Upstream) kernel.Address {
	if to.Network == "unix" {
		return kernel.Address{Unix: to.Address}
	}
	at, err := netip.ParseAddrPort(to.Address)
	if err != nil {
		return kernel.Address{}
	}
	return kernel.Address{TCP: at}
}

// resolve keeps the address of a named upstream fresh until ctx is done.
func (g *gateway) resolve(ctx context.Context) {
	every := time.NewTicker(resolveEvery)
	defer every.Stop()
	for {
		failed := false
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-g.again:
			failed = true
		}
		g.mu.Lock()
		to := g.to
		g.mu.Unlock()
		if to == (supervisor.Upstream{}) || literal(to) != (kernel.Address{}) {
			continue
		}
		all, err := lookUp(ctx, to)
		if err != nil {
			g.log.Warn("the worker's name can't be looked up; its last address stays", "error", err)
			continue
		}
		g.found(to, all, failed)
	}
}

// found takes the answer to a look-up, unless the question is out of date.
func (g *gateway) found(to supervisor.Upstream, all []kernel.Address, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := choose(all, g.at, failed)
	if g.to != to || g.at == at {
		return
	}
	first := g.at == (kernel.Address{})
	g.at = at
	switch {
	case g.life == 0:
	case first:
		g.relay.Open(int64(g.life), at)
	default:
		g.log.Info("the worker's name has another address now", "upstream", to.String(), "address", at.String())
		g.relay.Retarget(int64(g.life), at)
	}
}

// choose stays with the address in use as long as the name still has it, and takes the next one if it has failed: the
// worker may listen on one of localhost's two.
func choose(all []kernel.Address, used kernel.Address, failed bool) kernel.Address {
	i := slices.Index(all, used)
	if i >= 0 && !failed {
		return used
	}
	return all[(i+1)%len(all)]
}

// lookUp returns the addresses of a name, at least one.
func lookUp(ctx context.Context, to supervisor.Upstream) ([]kernel.Address, error) {
	host, port, err := net.SplitHostPort(to.Address)
	if err != nil {
		return nil, fmt.Errorf("look up %q: %w", to.Address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, fmt.Errorf("look up %q: %w", to.Address, err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up %q: %w", to.Address, err)
	}
	var all []kernel.Address
	for _, ip := range ips {
		all = append(all, kernel.Address{TCP: netip.AddrPortFrom(ip.Unmap(), uint16(number))})
	}
	return all, nil
}
