package cli

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"
)

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                       "0 ms",
		999 * time.Millisecond:  "999 ms",
		time.Second:             "1 s",
		3240 * time.Millisecond: "3.2 s",
		9999 * time.Millisecond: "9.9 s",
		41 * time.Second:        "41 s",
		2 * time.Minute:         "2m00s",
		133 * time.Second:       "2m13s",
		185 * time.Minute:       "3h05m",
		292 * time.Hour:         "12d4h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}

func TestCounts(t *testing.T) {
	for n, want := range map[int64]string{0: "0 streams", 1: "1 stream", 999: "999 streams", 1000: "1,000 streams", 1234567: "1,234,567 streams", -1234: "-1,234 streams"} {
		if got := count(n, "stream"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLogsThatNobodyWatchesAreJSON(t *testing.T) {
	var b bytes.Buffer
	newLog(&b).Info("life 3 serves", slog.Int("pid", 7))
	var line struct {
		Msg string
		PID int
	}
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line.Msg != "life 3 serves" || line.PID != 7 {
		t.Errorf("a log line is %q, %v; want JSON", b.String(), err)
	}
}

func TestVersion(t *testing.T) {
	defer func(before string) { version = before }(version)
	version = "1.2.3"
	got := say(t, "/nowhere", "version", "--json")
	var b build
	if err := json.Unmarshal([]byte(got.out), &b); err != nil || got.code != exitDone {
		t.Fatalf("version --json gives %d %q, %v", got.code, got.out, err)
	}
	// A test binary has no keeper.
	if b.Version != "1.2.3" || b.Go == "" || b.OS != "linux" || b.Arch == "" || b.Keeper {
		t.Errorf("version --json is %+v", b)
	}
	version = ""
	if got := buildVersion(); got == "" {
		t.Error("a build that was told no version has none at all")
	}
}
