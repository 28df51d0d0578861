package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/supervisor/admin"

	"github.com/google/go-cmp/cmp"
)

func someStreams() admin.Touched {
	return admin.Touched{
		Restart: someHistory()[0],
		Streams: []admin.PastStream{
			{
				RequestID: "req-1", Client: "192.0.2.1:4000", Route: "POST /v1/chat/completions", Outcome: "cut", Cause: "crash", Life: 3,
				Ended: threeAM.Add(-90 * time.Minute), AgeMS: 61_000, Bytes: 12_345, Status: 200,
			},
			{RequestID: "req-2", Client: "192.0.2.2:4000", Route: "GET /v1/models", Outcome: "open", AgeMS: 900, WaitedMS: 800, InTheWay: true, Life: 5},
			{RequestID: "req-3", Outcome: "refused", Ended: threeAM.Add(-89 * time.Minute), AgeMS: 40_000, WaitedMS: 40_000, Status: 503},
		},
	}
}

func TestStreamsOfARestartAreOneLineEach(t *testing.T) {
	want := `restart 17: 1,214 streams were held, 208 cut, 0 refused; 3 streams listed

OUTCOME           WAITED  AGE     ENDED     BYTES   STATUS  LIFE  CLIENT          REQUEST  ROUTE
cut (crash)       0 ms    1m01s   01:30:00  12,345  200     3     192.0.2.1:4000  req-1    POST /v1/chat/completions
open, in the way  800 ms  900 ms  -         0       -       5     192.0.2.2:4000  req-2    GET /v1/models
refused           40 s    40 s    01:31:00  0       503     -     -               req-3    -
`
	if d := cmp.Diff(want, streamTable(someStreams(), threeAM)); d != "" {
		t.Errorf("table (-want +got):\n%s", d)
	}
	if got := streamTable(admin.Touched{Restart: someHistory()[1]}, threeAM); got != "restart 16: 12 streams were held, 0 cut, 0 refused, 2 in the way; none is recorded one by one\n" {
		t.Errorf("of no stream it says %q", got)
	}
}

func TestHistoryOfStreamsAsksTheSidecar(t *testing.T) {
	dir := running(t, &fake{touched: someStreams()})
	if got := say(t, dir, "history", "--streams", "17"); got.code != exitDone || !strings.HasPrefix(got.out, "restart 17: 1,214 streams were held") {
		t.Errorf("17 gives %+v", got)
	}
	got := say(t, dir, "history", "17", "--streams", "--json")
	var touched admin.Touched
	if err := json.Unmarshal([]byte(got.out), &touched); err != nil || got.code != exitDone {
		t.Errorf("--json gives %+v: %v", got, err)
	}
	if d := cmp.Diff(someStreams(), touched); d != "" {
		t.Errorf("streams (-kept +printed):\n%s", d)
	}
	if got := say(t, dir, "history", "--streams", "99"); got.code != exitFailed || !strings.Contains(got.errors, "restart 99 is not in the ledger") {
		t.Errorf("99 gives %+v", got)
	}
	if got := say(t, dir, "history", "--streams"); got.code != exitUsage || !strings.Contains(got.errors, "--streams ID") {
		t.Errorf("no ID gives %+v", got)
	}
}
