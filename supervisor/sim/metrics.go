package sim

import (
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// typeMetrics is the content type of Python's prometheus_client.
const typeMetrics = "text/plain; version=0.0.4; charset=utf-8"

// cacheTokens is how many tokens the key-value cache that is not there would hold.
const cacheTokens = 1 << 18

// Buckets as vLLM has them.
var (
	stepBuckets  = []float64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}
	firstBuckets = []float64{
		0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
	}
	endBuckets = []float64{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
)

// meter keeps what /metrics tells beside the counters of State.
type meter struct {
	mu      sync.Mutex // guards everything that follows
	prompts int64      // tokens of the prompts that were processed
	ends    [len(meterEnds)]int64
	steps   histogram // tokens of one pass of the pacer, prompts included
	toFirst histogram // seconds from a request to its first token
	toEnd   histogram // seconds from a request to its answer's end
}

// meterEnds are the finish reasons that are counted, in vLLM's order.
var meterEnds = [...]string{finishStop, finishLength, finishAbort}

func newMeter() meter {
	return meter{steps: newHistogram(stepBuckets), toFirst: newHistogram(firstBuckets), toEnd: newHistogram(endBuckets)}
}

// began counts an answer's prompt, and how long its first token took.
func (m *meter) began(promptTokens int, after time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prompts += int64(promptTokens)
	m.toFirst.add(max(0, after.Seconds()))
}

// stepped counts one pass over all answers that were due.
func (m *meter) stepped(tokens int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps.add(float64(tokens))
}

// finished counts an answer that came to its end.
func (m *meter) finished(reason string, after time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, known := range meterEnds {
		if reason == known {
			m.ends[i]++
		}
	}
	m.toEnd.add(after.Seconds())
}

// histogram counts values by buckets, as Prometheus does.
type histogram struct {
	bounds []float64
	counts []int64 // one more than bounds: what is above them all
	sum    float64
}

func newHistogram(bounds []float64) histogram {
	return histogram{bounds: bounds, counts: make([]int64, len(bounds)+1)}
}

func (h *histogram) add(value float64) {
	i := 0
	for i < len(h.bounds) && value > h.bounds[i] {
		i++
	}
	h.counts[i]++
	h.sum += value
}

// metrics is the answer of /metrics: vLLM's names and labels in the text format of Python's client, its pitfalls
// included (a counter's _created is a gauge that stands still, iteration_tokens_total is a histogram).
func (s *server) metrics() []byte {
	running, waiting, cached := s.pacer.census(s.saturated())
	p := page{labels: []string{`engine="0"`, `model_name="` + labelValue(s.options.Model) + `"`}, born: float64(s.born.UnixMicro()) / 1e6}
	p.gauge("vllm:num_requests_running", "Number of requests in model execution batches.", float64(running))
	p.gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", float64(waiting))
	p.family("vllm:engine_sleep_state", "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; "+
		"weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.", "gauge")
	p.sample("vllm:engine_sleep_state", 1, `sleep_state="awake"`)
	p.sample("vllm:engine_sleep_state", 0, `sleep_state="weights_offloaded"`)
	p.sample("vllm:engine_sleep_state", 0, `sleep_state="discard_all"`)
	p.gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", min(1, float64(cached)/cacheTokens))
	p.counter("vllm:num_preemptions", "Cumulative number of preemption from the engine.", 0)
	s.meter.mu.Lock()
	defer s.meter.mu.Unlock()
	p.counter("vllm:prompt_tokens", "Number of prefill tokens processed.", s.prompts)
	p.counter("vllm:generation_tokens", "Number of generation tokens processed.", s.tokens.Load())
	p.family("vllm:request_success_total", "Count of successfully processed requests.", "counter")
	for i, reason := range meterEnds {
		p.sample("vllm:request_success_total", float64(s.ends[i]), `finished_reason="`+reason+`"`)
	}
	p.family("vllm:request_success_created", "Count of successfully processed requests.", "gauge")
	for _, reason := range meterEnds {
		p.sample("vllm:request_success_created", p.born, `finished_reason="`+reason+`"`)
	}
	p.histogram("vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.", s.steps)
	p.histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", s.toFirst)
	p.histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", s.toEnd)
	p.process()
	return []byte(p.text.String())
}

// census counts the answers that the engine works on, those that wait for a place while it is full, and the tokens
// that its cache holds for the former.
func (p *pacer) census(full bool) (running, waiting, cached int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d := range p.open {
		if full && d.queued {
			waiting++
			continue
		}
		running++
		cached += d.prompt + int(d.tokens.Load())
	}
	return running, waiting, cached
}

// page is a text of metrics in the making.
type page struct {
	text   strings.Builder
	labels []string // of every sample of the engine's
	born   float64  // seconds since 1970
}

func (p *page) family(name, help, kind string) {
	p.text.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// sample appends one value. The client sorts the labels.
func (p *page) sample(name string, value float64, labels ...string) {
	labels = append(labels, p.labels...)
	slices.Sort(labels)
	p.text.WriteString(name + "{" + strings.Join(labels, ",") + "} " + pythonFloat(value) + "\n")
}

func (p *page) gauge(name, help string, value float64) {
	p.family(name, help, "gauge")
	p.sample(name, value)
}

func (p *page) counter(name, help string, value int64) {
	p.family(name+"_total", help, "counter")
	p.sample(name+"_total", float64(value))
	p.gauge(name+"_created", help, p.born)
}

func (p *page) histogram(name, help string, h histogram) {
	p.family(name, help, "histogram")
	sum := int64(0)
	for i, count := range h.counts {
		bound := math.Inf(1)
		if i < len(h.bounds) {
			bound = h.bounds[i]
		}
		sum += count
		p.sample(name+"_bucket", float64(sum), `le="`+pythonFloat(bound)+`"`)
	}
	p.sample(name+"_count", float64(sum))
	p.sample(name+"_sum", h.sum)
	p.gauge(name+"_created", help, p.born)
}

// process appends what the client tells of every process.
func (p *page) process() {
	plain := func(name, help string, value float64) {
		p.family(name, help, "gauge")
		p.text.WriteString(name + " " + pythonFloat(value) + "\n")
	}
	plain("process_resident_memory_bytes", "Resident memory size in bytes.", residentBytes())
	plain("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", p.born)
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		plain("process_open_fds", "Number of open file descriptors.", float64(len(open)-1)) // the directory itself is one
	}
}

func residentBytes() float64 {
	text, _ := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize())
}

// labelValue escapes a label's value.
func labelValue(text string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(text)
}

// pythonFloat writes a value as Python's client does: 5.0, and from a million on with an exponent.
func pythonFloat(value float64) string {
	if math.IsInf(value, 1) {
		return "+Inf"
	}
	text := strconv.FormatFloat(value, 'f', -1, 64)
	whole, fraction, found := strings.Cut(text, ".")
	if !found {
		fraction = "0"
	}
	if value > 0 && len(whole) > 6 {
		return strings.TrimRight(whole[:1]+"."+whole[1:]+fraction, "0.") + "e+0" + strconv.Itoa(len(whole)-1)
	}
	return whole + "." + fraction
}
