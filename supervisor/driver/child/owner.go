package child

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"autoglm-sidecar/sockets/tcpdiag"
	"autoglm-sidecar/supervisor"
)

// owned checks that whoever is given a connection to the upstream is of this life, all of them. Its error is
// tcpdiag.ErrNobody or a *tcpdiag.HiddenError where that may still change.
func (p *process) owned(ctx context.Context) error {
	listening, err := addresses(ctx, p.at)
	if err != nil {
		return err
	}
	nobody := fmt.Errorf("who serves %s: %w", p.at, tcpdiag.ErrNobody)
	for _, address := range listening { // of a name's addresses one is enough, but none may be a stranger's
		err := p.ownedAt(address)
		if errors.Is(err, tcpdiag.ErrNobody) {
			continue
		}
		if err != nil {
			return err
		}
		nobody = nil
	}
	return nobody
}

func (p *process) ownedAt(address string) error {
	// Streams wait for the answer, so the likely one is tried first.
	if yes, err := tcpdiag.OwnedBy(p.at.Network, address, []int{p.id.main}); yes || err != nil {
		return err
	}
	ours, err := p.pids()
	if err != nil {
		return err
	}
	if yes, err := tcpdiag.OwnedBy(p.at.Network, address, ours); yes || err != nil {
		return err
	}
	return p.nameStrangers(address)
}

// occupied says who serves at the upstream before its worker is started, if somebody does: a worker that finds its address
// in use ends, mostly, and doesn't know whose it is. Whoever can't be seen is left to the worker to find.
func occupied(ctx context.Context, at supervisor.Upstream) error {
	if at.Network != "tcp" {
		return nil // a socket file that somebody listens on was found before
	}
	all, err := addresses(ctx, at)
	if err != nil {
		return nil //nolint:nilerr // a name without an address now may have one when the worker asks
	}
	for _, address := range all {
		if pids, err := tcpdiag.Owners(at.Network, address); err == nil && len(pids) > 0 {
			return fmt.Errorf("%s is served by %s, which is not of this worker", at, whoListens(at.Network, address))
		}
	}
	return nil
}

// pids are all of the life's.
func (p *process) pids() ([]int, error) {
	living, err := p.id.living()
	pids := make([]int, len(living))
	for i, m := range living {
		pids[i] = m.pid
	}
	return pids, err
}

// nameStrangers says who else than our processes serves there.
func (p *process) nameStrangers(address string) error {
	owners, err := tcpdiag.Owners(p.at.Network, address)
	if err != nil {
		return fmt.Errorf("who serves %s: %w", p.at, err)
	}
	ours, err := p.pids() // after the owners, so that one which was forked just now is among them
	if err != nil {
		return err
	}
	var strangers []string
	for _, owner := range owners {
		if !slices.Contains(ours, owner) {
			strangers = append(strangers, tcpdiag.Describe(owner))
		}
	}
	names := strings.Join(strangers, " and ")
	switch {
	case len(strangers) == 0: // it has changed since we asked
		return fmt.Errorf("who serves %s: %w", p.at, tcpdiag.ErrNobody)
	case len(strangers) < len(owners):
		return fmt.Errorf("%s is shared with %s, which is not of this worker: connections would go now to one, now to the other", p.at, names)
	}
	return fmt.Errorf("%s is served by %s, which is not of this worker", p.at, names)
}

// addresses are the upstream's, with a name resolved.
func addresses(ctx context.Context, at supervisor.Upstream) ([]string, error) {
	if _, err := netip.ParseAddrPort(at.Address); at.Network == "unix" || err == nil {
		return []string{at.Address}, nil
	}
	host, port, err := net.SplitHostPort(at.Address)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	for i, ip := range ips {
		ips[i] = net.JoinHostPort(ip, port)
	}
	return ips, nil
}

// whoListens names the owners of a listening socket for an error.
func whoListens(network, address string) string {
	pids, err := tcpdiag.Owners(network, address)
	if len(pids) == 0 {
		return "somebody (" + err.Error() + ")"
	}
	var names []string
	for _, pid := range pids {
		names = append(names, tcpdiag.Describe(pid))
	}
	return strings.Join(names, " and ")
}
