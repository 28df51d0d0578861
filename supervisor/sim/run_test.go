package sim

import (
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// TestFlagsAndKeysAgree: each switch of /sim/faults has a flag of the same name, and no flag changes a default.
func TestFlagsAndKeysAgree(t *testing.T) {
	o := DefaultOptions()
	flags := pflag.NewFlagSet("sim", pflag.ContinueOnError)
	RegisterFlags(flags, &o)
	if err := flags.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultFaults(), o.Faults); diff != "" {
		t.Errorf("without flags the switches are not the defaults: %s", diff)
	}
	text, err := json.Marshal(o.Faults)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	if len(keys) != 18 {
		t.Errorf("%d keys: %s", len(keys), text)
	}
	for key := range keys {
		if name := strings.ReplaceAll(key, "_", "-"); flags.Lookup(name) == nil {
			t.Errorf("%s has no flag --%s", key, name)
		}
	}
	if same, err := DefaultFaults().with(text); err != nil || !cmp.Equal(same, o.Faults) {
		t.Errorf("what GET /sim/faults answers was to be taken by POST: %v", err)
	}
}

// TestAddresses: what Listen may be.
func TestAddresses(t *testing.T) {
	for asked, want := range map[string]string{
		"127.0.0.1:0": "127.0.0.1",
		"localhost:0": "127.0.0.1",
		":0":          "0.0.0.0",
		"[::1]:0":     "::1",
	} {
		s, err := bind(asked, false)
		if want == "::1" && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)) {
			continue // a machine without IPv6
		}
		if err != nil {
			t.Errorf("%s: %v", asked, err)
			continue
		}
		listener, err := s.listen()
		if err != nil {
			t.Errorf("%s: %v", asked, err)
			continue
		}
		if got := listener.Addr().(*net.TCPAddr); got.IP.String() != want || got.Port == 0 {
			t.Errorf("%s listens on %v", asked, got)
		}
		listener.Close()
	}
	for asked, want := range map[string]string{
		"8000":           "missing port",
		"127.0.0.1:port": "unknown port",
		"unix:" + filepath.Join(t.TempDir(), "no", "such.sock"): "no such file or directory",
		"unix:" + strings.Repeat("a", 200):                      "invalid argument",
	} {
		if s, err := bind(asked, false); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), asked) {
			t.Errorf("%s gave %v, %v; want %q", asked, s, err, want)
		}
	}
}
