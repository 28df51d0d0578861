package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// prometheus is a real one, Debian's, that watches one target every two seconds.
type prometheus struct {
	address string
	log     string
}

// watchWith starts one that ends with the test.
func watchWith(t *testing.T, target string) *prometheus {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("there is no prometheus; type: tools/setup.sh prometheus")
	}
	dir := t.TempDir()
	p := &prometheus{log: filepath.Join(dir, "log")}
	if p.address, err = freeAddress(); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(dir, "prometheus.yml")
	text := "global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n- {job_name: sidecar, static_configs: [{targets: ['" + target + "']}]}\n"
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command(program, "--config.file="+settings, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return p
}

// ask puts a question in PromQL whose answer is one number; false: it has no answer.
func (p *prometheus) ask(ctx context.Context, query string) (float64, bool, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		return 0, false, err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, false, err
	}
	defer r.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return 0, false, err
	}
	switch all := answer.Data.Result; {
	case answer.Status != "success":
		return 0, false, errors.New(answer.Error)
	case len(all) == 0:
		return 0, false, nil
	case len(all) > 1:
		return 0, false, fmt.Errorf("%q has %d answers", query, len(all))
	default:
		text, _ := all[0].Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		return v, true, err
	}
}

// number is the answer to a question that must have one.
func (p *prometheus) number(t *testing.T, query string) float64 {
	t.Helper()
	v, found, err := p.ask(t.Context(), query)
	if err != nil || !found {
		log, _ := os.ReadFile(p.log)
		t.Fatalf("%s: found %v, %v; prometheus said:\n%s", query, found, err, lastLines(log, 5))
	}
	return v
}

// scraped waits until n more scrapes are done, and returns right after the last.
func (p *prometheus) scraped(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	last := -1.0
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		at, found, err := p.ask(ctx, "timestamp(up)")
		if err == nil && found && at != last {
			last = at
			n--
		}
		return n < 0, nil //nolint:nilerr // it may not listen yet; if it never does, ctx ends this
	})
	if err != nil {
		log, _ := os.ReadFile(p.log)
		t.Fatalf("wait for scrapes: %v; prometheus said:\n%s", err, lastLines(log, 5))
	}
}

// TestEndToEndPrometheus: what a real Prometheus saw of a restart and of a kill -9 of the sidecar, under load.
func TestEndToEndPrometheus(t *testing.T) {
	file := program(t, shipped)
	ctx := within(t, 2*time.Minute)
	target, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	const rate = 50
	side := running(ctx, t, SidecarOptions{
		Program: file, Run: []string{"--http", target}, Sim: []string{"--start-delay", "3s", "--tokens-per-second", strconv.Itoa(rate)},
	})
	p := watchWith(t, target)
	load := StartLoad(ctx, LoadOptions{
		Address: side.Address, Rate: rate, Seed: seed(t), Ramp: time.Second,
		Groups: []Group{{Kind: Stream, Clients: 64, Tokens: [2]int{50, 150}}, {Kind: Plain, Clients: 8, Tokens: [2]int{20, 50}}},
	})
	p.scraped(ctx, t, 4)
	if _, err := side.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	before, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.scraped(ctx, t, 3) // so that it dies right after a scrape: one that is under way then would fail
	if err := Kill.Strike(before.Runner); err != nil {
		t.Fatal(err)
	}
	if _, err := side.Successor(ctx, before.Runner); err != nil {
		t.Fatal(err)
	}
	p.scraped(ctx, t, 3)
	load.Stop(ctx)
	p.scraped(ctx, t, 2)
	c := load.Tally.Counts()
	if c.Bad() > 0 {
		t.Errorf("clients: %s; %s", c, c.Notes)
	}
	judgeScrapes(t, p, c.Complete)
	judgeHistory(ctx, t, side)
}

// counters are the names that may only rise, those of histograms included.
func (p *prometheus) counters(t *testing.T) (names []string) {
	t.Helper()
	r, err := http.Get("http://" + p.address + "/api/v1/label/__name__/values")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var answer struct{ Data []string }
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	for _, name := range answer.Data {
		if rising.MatchString(name) {
			names = append(names, name)
		}
	}
	if len(names) < 30 {
		t.Fatalf("only %d counters: %v", len(names), names)
	}
	return names
}

var rising = regexp.MustCompile(`^autoglm_sidecar_.*(_total|_bucket|_count|_sum)$`)

// judgeScrapes asks for all that must be so after one restart and one kill, of which clients noticed nothing.
func judgeScrapes(t *testing.T, p *prometheus, complete int64) {
	for _, name := range p.counters(t) {
		if fell := p.number(t, "max(resets("+name+"[5m]))"); fell != 0 {
			t.Errorf("%s fell %v times", name, fell)
		}
	}
	for _, test := range []struct {
		query string
		want  float64
	}{
		{`min(min_over_time(up[5m]))`, 1},
		{`max(max_over_time(autoglm_sidecar_take_overs_total[5m]) - min_over_time(autoglm_sidecar_take_overs_total[5m]))`, 1},
		{`sum(autoglm_sidecar_runner_deaths_total{kind="killed"})`, 1},
		{`sum(autoglm_sidecar_runner_deaths_total)`, 1},
		{`sum(autoglm_sidecar_restarts_total{reason="operator",result="done"})`, 1},
		{`sum(autoglm_sidecar_restarts_total)`, 1},
		{`sum(autoglm_sidecar_cuts_total)`, 0},
		{`sum(autoglm_sidecar_streams_total{outcome="cut"})`, 0},
		{`sum(autoglm_sidecar_streams_total{outcome="refused"})`, 0},
		{`autoglm_sidecar_take_over_connections_lost_total`, 0},
		{`autoglm_sidecar_streams_open`, 0},
		{`max_over_time(autoglm_sidecar_phase{phase="starting"}[5m])`, 1},
		{`autoglm_sidecar_phase{phase="serving"}`, 1},
		{`sum(autoglm_sidecar_phase)`, 1},
		{`autoglm_sidecar_life`, 2},
		{`autoglm_sidecar_state_writable`, 1},
		{`autoglm_sidecar_log_records_lost_total`, 0},
	} {
		if got := p.number(t, test.query); got != test.want {
			t.Errorf("%s is %v, want %v", test.query, got, test.want)
		}
	}
	if t.Failed() {
		t.Logf("the longest scrape took %v s", p.number(t, "max_over_time(scrape_duration_seconds[5m])"))
	}
	for _, test := range []struct {
		query string
		least float64
	}{
		// An end may be counted twice at a death, never missed.
		{`sum(autoglm_sidecar_streams_total{outcome=~"complete|unjudged"})`, float64(complete)},
		{`autoglm_sidecar_hold_wait_seconds_count`, 10},
		{`max_over_time(autoglm_sidecar_streams_held[5m])`, 10},
		{`autoglm_sidecar_token_gap_seconds_count`, 10 * float64(complete)},
		{`autoglm_sidecar_time_to_first_byte_seconds_count`, float64(complete)},
		{`sum(autoglm_sidecar_bytes_total{direction="to_clients"})`, 1000 * float64(complete)},
		{`sum(autoglm_sidecar_lane_busy_seconds_total)`, 0.01},
		{`autoglm_sidecar_take_over_connections_mended_total`, 10},
		{`autoglm_sidecar_arena_touched_bytes`, 1 << 16},
		{`count_over_time(up[5m])`, 10},
	} {
		if got := p.number(t, test.query); got < test.least {
			t.Errorf("%s is %v, want at least %v", test.query, got, test.least)
		}
	}
}

// judgeHistory: the restart's streams are told one by one, though the runner that held them is dead.
func judgeHistory(ctx context.Context, t *testing.T, side *Sidecar) {
	raw, err := side.Command(ctx, "history", "--streams", "1", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		Restart struct{ Held, Cut int }
		Streams []struct {
			Request  string `json:"request_id"`
			Client   string
			Route    string
			Outcome  string
			WaitedMS int `json:"waited_ms"`
		}
	}
	if err := json.Unmarshal(raw, &told); err != nil {
		t.Fatal(err)
	}
	if told.Restart.Held < 10 || told.Restart.Cut != 0 || len(told.Streams) != min(told.Restart.Held, 100) {
		t.Errorf("%d held, %d cut, %d told of; want all that were held", told.Restart.Held, told.Restart.Cut, len(told.Streams))
	}
	for _, s := range told.Streams {
		if s.Outcome != "complete" && s.Outcome != "unjudged" || s.WaitedMS <= 0 || s.Client == "" || s.Route == "" || s.Request == "" {
			t.Errorf("told of %+v", s)
		}
	}
}
