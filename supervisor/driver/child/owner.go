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
	var owners []int
	for _, address := range listening {
		pids, err := tcpdiag.Owners(p.at.Network, address)
		if err != nil && !errors.Is(err, tcpdiag.ErrNobody) {
			return fmt.Errorf("who serves %s: %w", p.at, err)
		}
		owners = append(owners, pids...)
	}
	if len(owners) == 0 {
		return fmt.Errorf("who serves %s: %w", p.at, tcpdiag.ErrNobody)
	}
	living, err := p.id.living()
	if err != nil {
		return err
	}
	var strangers []string
	ours := 0
	for _, owner := range owners {
		if slices.ContainsFunc(living, func(m member) bool { return m.pid == owner }) {
			ours++
		} else if _, alive := statOf(owner); alive {
			strangers = append(strangers, tcpdiag.Describe(owner))
		}
	}
	switch {
	case len(strangers) == 0 && ours > 0:
		return nil
	case len(strangers) == 0:
		return fmt.Errorf("who serves %s: %w", p.at, tcpdiag.ErrNobody)
	case ours > 0:
		return fmt.Errorf("%s is shared with %s, which is not of this worker: connections would go now to one, now to the other", p.at, strings.Join(strangers, " and "))
	}
	return fmt.Errorf("%s is served by %s, which is not of this worker", p.at, strings.Join(strangers, " and "))
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
