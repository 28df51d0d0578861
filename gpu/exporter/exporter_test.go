package exporter

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"autoglm-sidecar/gpu"
)

const mib = gpu.Bytes(1 << 20)

func golden(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// looks are the lines of looks in a row.
func looks(t *testing.T, texts ...string) [][]gpu.Line {
	t.Helper()
	var d devices
	var all [][]gpu.Line
	for _, text := range texts {
		now, err := parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d.follow(now))
	}
	return all
}

func TestWholeGPUs(t *testing.T) {
	got := looks(t, string(golden(t, "two.prom")))[0]
	want := []gpu.Line{
		{System: &gpu.System{Library: gpu.Reads, Driver: "550.54.15", Devices: []gpu.Device{
			{UUID: "GPU-aaaa", Index: 0, Name: "NVIDIA H100 80GB HBM3", Bus: "00000000:1B:00.0", Total: 81559 * mib},
			{UUID: "GPU-bbbb", Index: 1, Name: "NVIDIA H100 80GB HBM3", Bus: "00000000:43:00.0", Total: 81559 * mib},
		}}},
		{Sample: &gpu.Sample{
			Device: "GPU-aaaa", Total: 81559 * mib, Used: 72345 * mib, Free: 8655 * mib, Reserved: 559 * mib,
			Utilisation: new(97), Temperature: new(61),
		}},
		{Sample: &gpu.Sample{
			Device: "GPU-bbbb", Total: 81559 * mib, Free: 81000 * mib, Reserved: 559 * mib, Utilisation: new(0), Temperature: new(30),
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestInstancesOfADividedGPU(t *testing.T) {
	got := looks(t, string(golden(t, "mig.prom")))[0]
	const trouble = "the exporter doesn't tell its memory"
	want := []gpu.Line{
		{System: &gpu.System{Library: gpu.Reads, Driver: "580.95.05", CUDA: 13000, Devices: []gpu.Device{
			{UUID: "GPU-cccc", Index: 0, Name: "NVIDIA A30", MIG: true, Error: trouble},
			{UUID: "GPU-cccc/3", Index: 0, Name: "NVIDIA A30 MIG 1g.6gb", Parent: "GPU-cccc", GI: 3, Total: 5952 * mib},
			{UUID: "GPU-cccc/11", Index: 0, Name: "NVIDIA A30 MIG 2g.12gb", Parent: "GPU-cccc", GI: 11, Total: 11968 * mib},
		}}},
		{Sample: &gpu.Sample{Device: "GPU-cccc", Trouble: gpu.Unsupported, Detail: trouble}},
		{Sample: &gpu.Sample{Device: "GPU-cccc/3", Total: 5952 * mib, Used: 3745 * mib, Free: 2207 * mib}},
		{Sample: &gpu.Sample{Device: "GPU-cccc/11", Total: 11968 * mib, Used: 25 * mib, Free: 11943 * mib}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// one is a GPU with that memory in use and that last Xid.
func one(used, free, xid string) string {
	const labels = `{gpu="0",UUID="GPU-a",GPU_I_ID="%s"} %s` + "\n"
	var b strings.Builder
	for _, row := range [][2]string{{"FB_USED", used}, {"FB_FREE", free}, {"XID_ERRORS", xid}} {
		if row[1] != "" {
			fmt.Fprintf(&b, "DCGM_FI_DEV_"+row[0]+labels, "", row[1])
		}
	}
	return b.String()
}

func TestOnlyAnotherXidIsAnEvent(t *testing.T) {
	xids := []string{"31", "31", "43", "43", "0", "43", "", "43", "NaN", "94", "2147483632", "94", "1.5"}
	events := map[int]uint64{2: 43, 5: 43, 9: 94}
	var texts []string
	for _, xid := range xids {
		texts = append(texts, one("10", "90", xid))
	}
	for i, lines := range looks(t, texts...) {
		var got, want []uint64
		for _, l := range lines {
			if l.Event != nil {
				got = append(got, l.Event.Xid)
			}
		}
		if xid, ok := events[i]; ok {
			want = []uint64{xid}
		}
		if !slices.Equal(got, want) {
			t.Errorf("look %d, where %q is the last: events %d, want %d", i, xids[i], got, want)
		}
	}
	instance := strings.NewReplacer(`GPU_I_ID=""`, `GPU_I_ID="4"`)
	lines := looks(t, instance.Replace(one("1", "2", "0")), instance.Replace(one("1", "2", "79")))[1]
	want := &gpu.Event{Device: "GPU-a", GI: 4, Xid: 79}
	if diff := cmp.Diff(want, lines[len(lines)-1].Event); diff != "" {
		t.Errorf("of an instance (-want +got)\n%s", diff)
	}
}

func TestASystemIsToldWhenItIsAnother(t *testing.T) {
	second := strings.NewReplacer(`gpu="0"`, `gpu="1"`, "GPU-a", "GPU-b")
	all := looks(t,
		one("10", "90", ""), one("11", "90", ""), one("50", "49", ""), // rounded otherwise
		one("10", "90", "")+second.Replace(one("1", "2", "")), one("10", "90", ""), one("10", "290", ""))
	for i, want := range []bool{true, false, false, true, true, true} {
		if got := all[i][0].System != nil; got != want {
			t.Errorf("look %d: a system %v, want %v", i, got, want)
		}
	}
	if s := all[2][0].Sample; s.Total != 100*mib || s.Used != 50*mib {
		t.Errorf("sample %+v, want the total of before", s)
	}
}

func TestNumbersThatMakeNoSenseAreIgnored(t *testing.T) {
	for _, v := range []string{"NaN", "+Inf", "-Inf", "1e300", "-1", "9223372036854775794", "2147483632"} {
		lines := looks(t, one(v, "90", v))[0]
		if s := lines[1].Sample; s.Trouble != gpu.Unsupported || s.Used != 0 || s.Free != 0 {
			t.Errorf("%s: %+v", v, s)
		}
	}
}

func TestWhatIsNoExporterIsAnError(t *testing.T) {
	for what, c := range map[string]struct{ text, want string }{
		"nothing":         {"", "it tells of no GPU"},
		"other metrics":   {"up 1\n", "it tells of no GPU"},
		"a page":          {"<html>no</html>", "text format parsing error in line 1"},
		"no UUID":         {`DCGM_FI_DEV_FB_USED{gpu="0"} 1` + "\n", "it tells of no GPU"},
		"a strange UUID":  {`DCGM_FI_DEV_FB_USED{gpu="0",UUID="a\nb"} 1` + "\n", "it tells of no GPU"},
		"a strange index": {`DCGM_FI_DEV_FB_USED{gpu="-1",UUID="a"} 1` + "\n", "it tells of no GPU"},
		"an instance":     {`DCGM_FI_DEV_FB_USED{gpu="1",UUID="a",GPU_I_ID="x"} 1` + "\n", "it tells of no GPU"},
		"cut off":         {`DCGM_FI_DEV_FB_USED{gpu="1",UU`, "text format parsing error"},
	} {
		if _, err := parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	var many strings.Builder
	for i := range mostDevices + 1 {
		fmt.Fprintf(&many, "DCGM_FI_DEV_FB_USED{gpu=\"%d\",UUID=\"GPU-%d\"} 1\n", i, i)
	}
	if _, err := parse([]byte(many.String())); err == nil || err.Error() != "it tells of more than 256 devices" {
		t.Errorf("many devices: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	// Short ones: the fuzzer spends its time on making long ones shorter.
	f.Add([]byte(one("1", "2", "0")))
	f.Add([]byte("DCGM_FI_DEV_FB_USED{gpu=\"0\",UUID=\"a\",GPU_I_ID=\"3\"} 1\n"))
	f.Add([]byte("# TYPE DCGM_FI_DEV_GPU_UTIL counter\nDCGM_FI_DEV_GPU_UTIL{gpu=\"0\",UUID=\"a\"} 1\n"))
	f.Add([]byte(one("NaN", "-1", "1e300")))
	f.Fuzz(func(t *testing.T, text []byte) {
		now, err := parse(text)
		if err != nil {
			return
		}
		var d devices
		for range 2 {
			for _, l := range d.follow(now) {
				if s := l.Sample; s != nil {
					if s.Total < 0 || s.Used < 0 || s.Free < 0 || s.Reserved < 0 || s.Device == "" {
						t.Errorf("sample %+v", s)
					}
					if s.Utilisation != nil && (*s.Utilisation < 0 || *s.Utilisation > 100) || s.Temperature != nil && *s.Temperature < 0 {
						t.Errorf("sample of %s: utilisation or temperature", s.Device)
					}
				}
				if l.Event != nil {
					t.Errorf("event %+v, and nothing changed", l.Event)
				}
			}
		}
	})
}

// serve reads a server once, and returns what went wrong.
func serve(t *testing.T, h http.HandlerFunc) error {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	e := New(Options{URL: server.URL, Take: func(gpu.Line) {}})
	t.Cleanup(e.client.CloseIdleConnections)
	_, err := e.fetch(t.Context())
	return err
}

func TestServersThatDontServe(t *testing.T) {
	for what, c := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"an error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "it answers with status 500"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				t.Error("a redirect is followed")
			}
			http.Redirect(w, r, "/other", http.StatusFound)
		}, "it answers with status 302"},
		"too much": {func(w http.ResponseWriter, _ *http.Request) {
			for range 9 {
				_, _ = w.Write([]byte(strings.Repeat("#", 1<<20)))
			}
		}, "it says more than 8 MiB"},
		"garbage": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\x00\x01")) }, "parsing error"},
		"an end too early": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("up 1\n"))
		}, "unexpected EOF"},
		"no head": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within 3s"},
		"half a body": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("up 1\n"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "no answer within 3s"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			from := time.Now()
			err := serve(t, c.h)
			if err == nil || !strings.HasPrefix(err.Error(), "read the exporter: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if took := time.Since(from); took > within+2*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if err := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, one("1", "2", "0")) }); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// answers are a transport that gives one after the other, and the last again and again; "" is an error.
type answers struct {
	texts []string
	asked atomic.Int64
}

func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
	text := a.texts[min(int(a.asked.Add(1)), len(a.texts))-1]
	if text == "" {
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(text))}, nil
}

func TestThreeFailuresAreSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := one("10", "90", "0")
		from := &answers{texts: []string{good, "", "", good, "", "", "", "", good}}
		var taken atomic.Int64
		e := New(Options{URL: "http://exporter/metrics", Take: func(gpu.Line) { taken.Add(1) }})
		e.client.Transport = from
		if kind := e.State().Kind; kind != gpu.SourceStarts {
			t.Errorf("before Run: %s", kind)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			e.Run(ctx)
		}()
		for i, want := range []struct {
			kind  gpu.SourceKind
			taken int64
		}{
			{gpu.SourceReads, 2},
			{gpu.SourceReads, 2},
			{gpu.SourceReads, 2},
			{gpu.SourceReads, 3},
			{gpu.SourceReads, 3},
			{gpu.SourceReads, 3},
			{gpu.SourceSilent, 3},
			{gpu.SourceSilent, 3},
			{gpu.SourceReads, 4},
		} {
			synctest.Wait()
			state := e.State()
			if state.Kind != want.kind || taken.Load() != want.taken || from.asked.Load() != int64(i+1) {
				t.Errorf("after %d s: %d asked, %d taken, state %+v; want %+v", 5*i, from.asked.Load(), taken.Load(), state, want)
			}
			if silent := state.Kind == gpu.SourceSilent; silent != strings.Contains(state.Text, "unexpected EOF") {
				t.Errorf("after %d s: text %q", 5*i, state.Text)
			}
			time.Sleep(5 * time.Second)
		}
		cancel()
		<-done
	})
}

// An exporter that names other devices each time must not fill our memory.
func TestDevicesThatAreGoneAreForgotten(t *testing.T) {
	var d devices
	for i := range 8 * mostDevices {
		now, err := parse([]byte(strings.ReplaceAll(one("1", "2", "31"), "GPU-a", fmt.Sprintf("GPU-%d", i))))
		if err != nil {
			t.Fatal(err)
		}
		d.follow(now)
	}
	if len(d.totals) != 1 || len(d.xids) > 4*mostDevices+1 {
		t.Errorf("%d totals and %d Xids are kept", len(d.totals), len(d.xids))
	}
}
