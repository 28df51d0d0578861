package probe

import "context"

// TCP asks whether a connection is accepted. The network is "tcp" or "unix". The kernel accepts on behalf of a server
// that listens, so a pass says that it listens, not that it works.
func TCP(network, address string) Probe {
	return func(ctx context.Context) error {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
