package daemon

import (
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/relay"
	"autoglm-sidecar/supervisor/config"
)

// limits are what the relay asks of clients; tuning is what the kernel asks of their connections.
func limits(m config.Limits) relay.Limits {
	return relay.Limits{
		PerAddress: m.PerAddress, HeadSize: m.HeadSize, HeadTime: m.HeadTime, BodyRate: m.BodyRate, BodyGrace: m.BodyGrace,
		Stalled: m.Stalled, Idle: m.Idle,
	}
}

func tuning(m config.Limits) kernel.Tuning {
	return kernel.Tuning{
		KeepAlive: m.KeepAlive, KeepInterval: m.KeepInterval, KeepCount: m.KeepCount,
		UserTimeout: m.UserTimeout, SendBuffer: m.SendBuffer, ReceiveBuffer: m.ReceiveBuf,
	}
}

// forwarded are the relay's words for the settings'.
var forwarded = map[config.Forwarded]http1.Forwarded{
	config.ForwardedOff: http1.ForwardedOff, config.ForwardedForX: http1.ForwardedForX, config.ForwardedRFC: http1.ForwardedRFC,
}

// furnish gives the relay's front what its settings say.
func furnish(f *relay.Front, c config.Front) {
	f.Forwarded, f.Trusted, f.EarlyAfter = forwarded[c.Forwarded], c.Trusted, c.EarlyAfter
}
