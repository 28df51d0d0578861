package sim

import (
	"math"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bucketLines are a histogram's lines as Python's client writes them, by hand: counts of the given bounds in turn.
func bucketLines(name, bounds string, counts ...string) string {
	var lines strings.Builder
	for i, bound := range strings.Fields(bounds) {
		lines.WriteString(name + `_bucket{engine="0",le="` + bound + `",model_name="m"} ` + counts[min(i, len(counts)-1)] + "\n")
	}
	return lines.String()
}

// TestGoldenMetrics: the page after one chat of 5 tokens to a prompt of 3, each byte but those that time decides. The
// text was written by hand after prometheus_client's exposition and vLLM's loggers.
func TestGoldenMetrics(t *testing.T) {
	w := startWorker(t, "")
	w.born = time.UnixMicro(1795435200250000)
	if _, err := w.exchange(chat(5)); err != nil {
		t.Fatal(err)
	}
	steps := regexp.MustCompile(`(?m)^vllm:iteration_tokens_total_sum\{.*\} 8\.0$`)
	deadline := time.Now().Add(patience)
	var page string
	for !steps.MatchString(page) {
		if _, page = w.do(http.MethodGet, "/metrics", ""); time.Now().After(deadline) {
			t.Fatalf("the pass of 5 tokens and a prompt of 3 is not counted in\n%s", page)
		}
	}
	for _, timed := range []string{
		`(?m)^(vllm:(?:iteration_tokens_total|time_to_first_token_seconds|e2e_request_latency_seconds)_(?:bucket|count)\{.*\}) \S+$`,
		`(?m)^(vllm:(?:time_to_first_token_seconds|e2e_request_latency_seconds)_sum\{.*\}) \S+$`,
		`(?m)^(process_(?:resident_memory_bytes|open_fds)) \S+$`,
	} {
		page = regexp.MustCompile(timed).ReplaceAllString(page, "$1 ?")
	}
	const sleep = "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2."
	created := func(name, help string) string {
		return "# HELP " + name + "_created " + help + "\n# TYPE " + name + "_created gauge\n" + name + "_created{engine=\"0\",model_name=\"m\"} 1.79543520025e+09\n"
	}
	want := `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 0.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
# HELP vllm:engine_sleep_state ` + sleep + `
# TYPE vllm:engine_sleep_state gauge
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="weights_offloaded"} 0.0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="discard_all"} 0.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.0
# HELP vllm:num_preemptions_total Cumulative number of preemption from the engine.
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="m"} 0.0
` + created("vllm:num_preemptions", "Cumulative number of preemption from the engine.") +
		`# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 3.0
` + created("vllm:prompt_tokens", "Number of prefill tokens processed.") +
		`# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="m"} 5.0
` + created("vllm:generation_tokens", "Number of generation tokens processed.") +
		`# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 0.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 1.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"} 0.0
# HELP vllm:request_success_created Count of successfully processed requests.
# TYPE vllm:request_success_created gauge
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.79543520025e+09
vllm:request_success_created{engine="0",finished_reason="length",model_name="m"} 1.79543520025e+09
vllm:request_success_created{engine="0",finished_reason="abort",model_name="m"} 1.79543520025e+09
# HELP vllm:iteration_tokens_total Histogram of number of tokens per engine_step.
# TYPE vllm:iteration_tokens_total histogram
` + bucketLines("vllm:iteration_tokens_total", "1.0 8.0 16.0 32.0 64.0 128.0 256.0 512.0 1024.0 2048.0 4096.0 8192.0 16384.0 +Inf", "?") +
		`vllm:iteration_tokens_total_count{engine="0",model_name="m"} ?
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 8.0
` + created("vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.") +
		`# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
` + bucketLines("vllm:time_to_first_token_seconds",
		"0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0 160.0 640.0 2560.0 +Inf", "?") +
		`vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} ?
vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} ?
` + created("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.") +
		`# HELP vllm:e2e_request_latency_seconds Histogram of e2e request latency in seconds.
# TYPE vllm:e2e_request_latency_seconds histogram
` + bucketLines("vllm:e2e_request_latency_seconds",
		"0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 240.0 480.0 960.0 1920.0 7680.0 +Inf", "?") +
		`vllm:e2e_request_latency_seconds_count{engine="0",model_name="m"} ?
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="m"} ?
` + created("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.") +
		`# HELP process_resident_memory_bytes Resident memory size in bytes.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes ?
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79543520025e+09
# HELP process_open_fds Number of open file descriptors.
# TYPE process_open_fds gauge
process_open_fds ?
`
	if diff := cmp.Diff(want, page); diff != "" {
		t.Error(diff)
	}
}

// TestHistogram: a value on a bound belongs to that bucket, and buckets are sums of all before.
func TestHistogram(t *testing.T) {
	h := newHistogram([]float64{1, 8})
	for _, value := range []float64{0.5, 1, 1.5, 8, 9, 10} {
		h.add(value)
	}
	p := page{labels: []string{`engine="0"`, `model_name="m"`}}
	p.histogram("h", "help", h)
	want := bucketLines("h", "1.0 8.0 +Inf", "2.0", "4.0", "6.0") +
		"h_count{engine=\"0\",model_name=\"m\"} 6.0\nh_sum{engine=\"0\",model_name=\"m\"} 30.0\n"
	if got := p.text.String(); !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestPythonFloat: the vectors are what prometheus_client's floatToGoString gives.
func TestPythonFloat(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0.0", 5: "5.0", 0.25: "0.25", 16384: "16384.0", 999999: "999999.0",
		1e6: "1e+06", 1234567: "1.234567e+06", 1795435200.25: "1.79543520025e+09", 1.5e10: "1.5e+010",
		math.Inf(1): "+Inf",
	} {
		if got := pythonFloat(value); got != want {
			t.Errorf("%v is written %s, want %s", value, got, want)
		}
	}
}

// TestMetricsFollowTheEngine: what runs, what waits for a place, and the cache that the former hold.
func TestMetricsFollowTheEngine(t *testing.T) {
	w := startWorker(t, `{"tokens_per_second":0.001}`)
	running := w.send(chat(5))
	readUntil(t, running, `" home"`)
	w.switches(`{"saturated":true}`)
	for range 2 {
		readUntil(t, w.send(chat(5)), "\r\n\r\n")
	}
	w.eventually("three answers", func(s State) bool { return s.Open == 3 })
	page := string(w.metrics()) // over HTTP nobody is answered now
	for _, want := range []string{
		`vllm:num_requests_running{engine="0",model_name="m"} 1.0`,
		`vllm:num_requests_waiting{engine="0",model_name="m"} 2.0`,
		`vllm:kv_cache_usage_perc{engine="0",model_name="m"} ` + pythonFloat(4.0/cacheTokens), // 3 of the prompt, 1 of the text
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	w.switches(`{"saturated":false}`)
	if _, page := w.do(http.MethodGet, "/metrics", ""); !strings.Contains(page, `vllm:num_requests_running{engine="0",model_name="m"} 3.0`+"\n") {
		t.Errorf("lifted, they run; but\n%s", page)
	}
}
