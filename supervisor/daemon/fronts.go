package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"autoglm-sidecar/sockets"
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/keeper"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/relay"
	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"
)

// front is a front that is open. Its number is its place in the arena's table, for as long as the arena lives: slots know
// their clients' front by it. So a runner that finds other fronts in its settings than the one before it had gives none of
// them the number of one by which clients are still there.
type front struct {
	*sockets.Listener
	config.Front
	number int
}

// address is what it is bound to, as a person writes it.
func (f front) address() string {
	if f.Addr.Network() == "unix" {
		return "unix:" + f.Addr.String()
	}
	return f.Addr.String()
}

// openFronts finds or binds the listeners that clients connect to, and closes those that are no longer in the settings.
func (d *daemon) openFronts(ctx context.Context) error {
	noted := notedFronts(d.arena)
	numbers, err := numberFronts(noted, d.Fronts, frontsInUse(d.arena))
	if err != nil {
		return err
	}
	for n, before := range noted {
		if before.listen == "" || slices.ContainsFunc(d.Fronts, func(f config.Front) bool { return f.Listen == before.listen }) {
			continue
		}
		closed, err := sockets.Retire("front", keeper.FrontAt(n))
		if closed {
			d.Log.Warn("a front is no longer in the settings: it is closed, and who came by it stays", "listen", before.listen)
		}
		if err != nil {
			d.Log.Warn(err.Error())
		}
	}
	for i, f := range d.Fronts {
		l, err := sockets.Listen(ctx, "front", keeper.FrontAt(numbers[i]), f.Listen)
		if err != nil {
			return err
		}
		d.fronts = append(d.fronts, front{l, f, numbers[i]})
		at := kernel.Linux{}.Local(int32(l.FD))
		if note := (notedFront{f.Listen, at}); note != noted[numbers[i]] { // a note must not be torn under the clients of its front
			if err := d.arena.SetFront(numbers[i], note.String()); err != nil {
				return fmt.Errorf("note front %s: %w", f.Listen, err)
			}
		}
		if at.TCP.IsValid() {
			if err := tuning(d.Limits).Tune(l.FD); err != nil {
				return err
			}
		}
	}
	return nil
}

// relayFronts are the fronts as the relay knows them, by number.
func (d *daemon) relayFronts() []relay.Front {
	fronts := make([]relay.Front, arena.MaxFronts)
	for n, f := range notedFronts(d.arena) {
		fronts[n] = relay.Front{FD: -1, At: f.at}
	}
	for _, f := range d.fronts {
		fronts[f.number].FD = f.FD
		furnish(&fronts[f.number], f.Front)
	}
	return fronts
}

// notedFront is what a runner leaves of a front for the next one.
type notedFront struct {
	listen string         // as in the settings; "": there was none
	at     kernel.Address // that it was bound to
}

// between lies between the two in the arena; no path holds it.
const between = "\x00"

func (f notedFront) String() string { return f.listen + between + f.at.String() }

func notedFronts(a *arena.Arena) (all [arena.MaxFronts]notedFront) {
	for n := range all {
		listen, at, _ := strings.Cut(a.Front(n), between)
		all[n].listen = listen
		if path, ok := strings.CutPrefix(at, "unix:"); ok {
			all[n].at.Unix = path
		} else if tcp, err := netip.ParseAddrPort(at); err == nil {
			all[n].at.TCP = tcp
		}
	}
	return all
}

// frontsInUse says by which fronts clients are there.
func frontsInUse(a *arena.Arena) (used [arena.MaxFronts]bool) {
	for i := range a.Slots() {
		if a.Used(i) {
			if n := a.Committed(i).Front; int(n) < len(used) { // nobody has looked yet whether the slot can be true
				used[n] = true
			}
		}
	}
	return used
}

// numberFronts gives each front its number: the one that it had, or else one that nobody has, or else that of a front which
// is gone with all its clients.
func numberFronts(noted [arena.MaxFronts]notedFront, wanted []config.Front, used [arena.MaxFronts]bool) ([]int, error) {
	numbers := make([]int, len(wanted))
	var taken [arena.MaxFronts]bool
	for i, f := range wanted {
		numbers[i] = slices.IndexFunc(noted[:], func(n notedFront) bool { return n.listen == f.Listen })
		if numbers[i] >= 0 {
			taken[numbers[i]] = true
		}
	}
	for i, f := range wanted {
		for _, free := range []func(n int) bool{
			func(n int) bool { return noted[n].listen == "" },
			func(n int) bool { return !used[n] },
		} {
			for n := range noted {
				if numbers[i] < 0 && !taken[n] && free(n) {
					numbers[i], taken[n] = n, true
				}
			}
		}
		if numbers[i] < 0 {
			return nil, fmt.Errorf("open front %s: clients are still there by fronts that are no longer in the settings, and there are places for %d",
				f.Listen, arena.MaxFronts)
		}
	}
	return numbers, nil
}

// frontStatus is what people see of the fronts, in the order of the settings.
func (d *daemon) frontStatus(s relay.Stats) (all []admin.Front) {
	for _, f := range d.fronts {
		n := s.Fronts[f.number]
		all = append(all, admin.Front{Listen: f.address(), Connections: n.Connections, Open: n.Streams})
	}
	return all
}

// listens are the addresses of all fronts, for people.
func listens(fronts []config.Front) string {
	var all []string
	for _, f := range fronts {
		all = append(all, f.Listen)
	}
	return strings.Join(all, " ")
}
