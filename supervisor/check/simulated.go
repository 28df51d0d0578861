package check

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// simState is what the simulated worker says of itself at /sim/state, as far as it is needed here.
type simState struct {
	PID          int    `json:"pid"`
	Life         string `json:"life"` // its nonce
	Open         int64  `json:"open"`
	MostAtOnce   int    `json:"most_at_once"` // answers
	Requests     int64  `json:"requests"`
	NowUnixMicro int64  `json:"now_unix_us"`
	Departures   []struct {
		RequestID        string `json:"request_id"`
		NoticedUnixMicro int64  `json:"noticed_unix_us"`
	} `json:"departures"`
}

// simState asks the worker itself, past the relay.
func (s *Sidecar) simState(ctx context.Context) (simState, error) {
	var state simState
	st, err := s.ask(ctx)
	if err != nil {
		return state, err
	}
	return state, exchangeJSON(ctx, st.Worker.Upstream, http.MethodGet, "/sim/state", nil, &state)
}

// setFaults changes switches of the worker that runs; the next life has those of its command line again.
func (s *Sidecar) setFaults(ctx context.Context, switches string) error {
	st, err := s.ask(ctx)
	if err != nil {
		return err
	}
	return exchangeJSON(ctx, st.Worker.Upstream, http.MethodPost, "/sim/faults", strings.NewReader(switches), nil)
}

// TurnGPU changes switches of the worker's simulated GPU, as in {"leak": 8}.
func (s *Sidecar) TurnGPU(ctx context.Context, switches string) error {
	st, err := s.ask(ctx)
	if err != nil {
		return err
	}
	return exchangeJSON(ctx, st.Worker.Upstream, http.MethodPost, "/sim/gpu", strings.NewReader(switches), nil)
}

// exchangeJSON asks a server at an address ("host:port" or "unix:PATH") over a connection of its own. into may be nil.
func exchangeJSON(ctx context.Context, address, method, path string, body *strings.Reader, into any) error {
	network, where := splitAddress(address)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, where)
		},
	}}
	if body == nil {
		body = strings.NewReader("")
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return fmt.Errorf("ask %s%s: %w", address, path, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", address, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("ask %s%s: status %s", address, path, resp.Status)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the answer of %s%s: %w", address, path, err)
	}
	return nil
}

// splitAddress turns an address as the command line has it into what net.Dial takes.
func splitAddress(address string) (network, where string) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path
	}
	return "tcp", address
}
