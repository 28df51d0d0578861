package daemon

import (
	"context"
	"strings"

	"autoglm-sidecar/sockets"
	"autoglm-sidecar/sockets/keeper"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/relay"
	"autoglm-sidecar/supervisor/config"
)

// openFronts finds or binds the listeners that clients connect to.
func (d *daemon) openFronts(ctx context.Context) error {
	for i, f := range d.Fronts {
		l, err := sockets.Listen(ctx, "front", keeper.FrontAt(i), f.Listen)
		if err != nil {
			return err
		}
		d.fronts = append(d.fronts, l)
		if err := kernel.NoticeTheVanished(l.FD); err != nil {
			return err
		}
	}
	return nil
}

// relayFronts are the fronts as the relay knows them.
func (d *daemon) relayFronts() (fronts []relay.Front) {
	for _, l := range d.fronts {
		fronts = append(fronts, relay.Front{FD: l.FD})
	}
	return fronts
}

// listens are the addresses of all fronts, for people.
func listens(fronts []config.Front) string {
	var all []string
	for _, f := range fronts {
		all = append(all, f.Listen)
	}
	return strings.Join(all, " ")
}
