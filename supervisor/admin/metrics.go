package admin

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// This is the one place that knows Prometheus. Everything it shows is one snapshot, taken when it is asked for, so the
// families of one scrape agree with each other, and nothing is counted twice in this program. The tables below and in gpu_metrics.go are all of
// them; docs/metrics.md explains each, and a test sees to that.
//
// No label ever holds what a client sent: no request id, no address, no path.

const prefix = "autoglm_sidecar_"

// emit gives one sample of a family, with the values of its labels.
type emit func(value float64, labels ...string)

// emitTimes gives one histogram of a family, likewise.
type emitTimes func(h Histogram, labels ...string)

// family is what one name means. Either samples or times is set.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	samples    func(*Numbers, emit)
	times      func(*Numbers, emitTimes)
}

func gauge(name, help string, value func(*Numbers) float64) family {
	return family{name: name, help: help, kind: prometheus.GaugeValue, samples: func(n *Numbers, out emit) { out(value(n)) }}
}

func counter(name, help string, value func(*Numbers) int64) family {
	return family{name: name, help: help, kind: prometheus.CounterValue, samples: func(n *Numbers, out emit) { out(float64(value(n))) }}
}

// counters has one sample for each key.
func counters(name, help, label string, values func(*Numbers) map[string]int64) family {
	return family{name: name, help: help, kind: prometheus.CounterValue, labels: []string{label}, samples: func(n *Numbers, out emit) {
		for key, v := range values(n) {
			out(float64(v), key)
		}
	}}
}

func histogram(name, help string, times func(*Numbers) Histogram) family {
	return family{name: name, help: help, times: func(n *Numbers, out emitTimes) { out(times(n)) }}
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// families are all that there are.
var families = slices.Concat(ownFamilies, gpuFamilies)

// ownFamilies are about the sidecar, its streams and the worker's life.
var ownFamilies = []family{
	{
		name: "build_info", help: "Always 1; what runs is in the labels.", kind: prometheus.GaugeValue, labels: []string{"version", "goversion"},
		samples: func(n *Numbers, out emit) { out(1, n.Version, n.GoVersion) },
	},
	gauge("start_time_seconds", "When the keeper started, since the epoch.", func(n *Numbers) float64 { return float64(n.Since.UnixMilli()) / 1e3 }),
	gauge("runner_start_time_seconds", "When the runner in office started, since the epoch.", func(n *Numbers) float64 { return float64(n.RunnerSince.UnixMilli()) / 1e3 }),
	gauge("keeper", "1 if there is a keeper, 0 if the sidecar does not survive its own death.", func(n *Numbers) float64 { return yes(n.Keeper != 0) }),
	counter("take_overs_total", "Runners that went on where a dead one had stopped.", func(n *Numbers) int64 { return n.TakeOvers }),
	counters("runner_deaths_total", "Deaths of runners, by kind.", "kind", func(n *Numbers) map[string]int64 { return n.Deaths }),
	counter("upgrades_total", "Upgrades in place that were tried.", func(n *Numbers) int64 { return n.Upgrades.Tried }),
	counter("upgrades_undone_total", "Of them, those after which the old program went on.", func(n *Numbers) int64 { return n.Upgrades.Undone }),
	counter("take_over_connections_mended_total", "Connections that went on over a take-over.", func(n *Numbers) int64 { return n.TakenOver.Mended }),
	counter("take_over_connections_lost_total", "Connections that could not be taken over, cut alone.", func(n *Numbers) int64 { return n.TakenOver.Lost }),
	counter("take_over_connections_poisonous_total", "Connections that were being worked on at three deaths in a row, cut alone.", func(n *Numbers) int64 { return n.TakenOver.Poisoned }),

	counters("take_over_bytes_total", "Bytes that take-overs found between two steps of a dead runner, by the steps.", "found", func(n *Numbers) map[string]int64 { return n.TakenOver.Bytes }),
	counters("take_over_descriptors_total", "Descriptors that take-overs found in no slot, by what became of them.", "became", func(n *Numbers) map[string]int64 { return n.TakenOver.Descriptors }),

	{
		name: "phase", help: "1 for the phase that the worker's life is in, 0 for the others.", kind: prometheus.GaugeValue, labels: []string{"phase"},
		samples: func(n *Numbers, out emit) {
			for _, phase := range n.Phases {
				out(yes(phase == n.Phase), phase)
			}
		},
	},
	gauge("life", "Number of the worker's current life.", func(n *Numbers) float64 { return float64(n.Life) }),
	gauge("ready", "1 while a new stream will be answered, now or after a hold.", func(n *Numbers) float64 { return yes(n.Ready) }),
	gauge("halted", "1 after too many crashes: only a person starts the worker again.", func(n *Numbers) float64 { return yes(n.Halted != "") }),
	gauge("barred", "1 while no life may be started, whoever asks.", func(n *Numbers) float64 { return yes(n.Barred != "") }),
	gauge("leaving", "1 while the sidecar is about to end.", func(n *Numbers) float64 { return yes(n.Leaving) }),
	gauge("frozen", "1 while planned and health restarts are frozen.", func(n *Numbers) float64 { return yes(n.Status.Frozen != nil) }),
	gauge("drained", "1 while a person holds the gate.", func(n *Numbers) float64 { return yes(n.Status.Drained != nil) }),
	gauge("observing", "1 in mode observe: restarts are decided on and not carried out.", func(n *Numbers) float64 { return yes(n.Mode == "observe") }),
	{
		name: "restarts_total", help: "Restarts of the worker that ended, by reason and result.", kind: prometheus.CounterValue, labels: []string{"reason", "result"},
		samples: func(n *Numbers, out emit) {
			for _, r := range n.RestartsBy {
				out(float64(r.Restarts), r.Reason, r.Result)
			}
		},
	},
	counters("would_restart_total", "Restarts that were decided on and withheld, by reason.", "reason", func(n *Numbers) map[string]int64 { return n.Would }),
	{
		name: "health", help: "1 for what is thought of the worker that serves, 0 for the others; all 0: none is judged now.",
		kind: prometheus.GaugeValue, labels: []string{"verdict"},
		samples: func(n *Numbers, out emit) {
			for _, verdict := range n.Verdicts {
				out(yes(verdict == n.Health.Verdict), verdict)
			}
		},
	},
	counters("condemnations_total", "Verdicts against a life, by what they say of it, whether or not a restart came of them.", "verdict", func(n *Numbers) map[string]int64 { return n.Condemnations }),
	counter("vetoes_total", "Verdicts that were none, since streams got bytes.", func(n *Numbers) int64 { return n.Vetoed }),
	{
		name: "probes_total", help: "Questions to the worker, by their kind and what came of them.", kind: prometheus.CounterValue, labels: []string{"probe", "result"},
		samples: func(n *Numbers, out emit) {
			for _, p := range n.Probes {
				out(float64(p.Passed), p.Kind, "passed")
				out(float64(p.Failed), p.Kind, "failed")
				out(float64(p.Skipped), p.Kind, "skipped")
			}
		},
	},
	{
		name: "probe_duration_seconds", help: "How long the answers to questions took, those that came too late included.", labels: []string{"probe"},
		times: func(n *Numbers, out emitTimes) {
			for _, p := range n.Probes {
				out(p.Took, p.Kind)
			}
		},
	},
	gauge("worker_start_seconds", "How long the last start took, from the launch until it served; 0: none has.", func(n *Numbers) float64 { return float64(n.Ahead.StartMS) / 1e3 }),

	counters("streams_total", "Streams that ended, by outcome.", "outcome", func(n *Numbers) map[string]int64 { return n.Streams.Outcomes }),
	counters("cuts_total", "Streams that ended before their answer, by cause.", "cause", func(n *Numbers) map[string]int64 { return n.Streams.Cuts }),
	counters("refusals_total", "Streams that were answered in the worker's place, by code.", "code", func(n *Numbers) map[string]int64 { return n.Refusals }),
	counter("streams_begun_total", "Requests whose head was whole, or should have been.", func(n *Numbers) int64 { return n.Begun }),
	gauge("streams_open", "Streams from their whole head to their end.", func(n *Numbers) float64 { return float64(n.Streams.Open) }),
	gauge("streams_in_flight", "Streams that the worker has.", func(n *Numbers) float64 { return float64(n.Gate.InFlight) }),
	gauge("streams_held", "Streams that wait for a life to serve.", func(n *Numbers) float64 { return float64(n.Gate.Held) }),
	gauge("queue_length", "Streams that wait for a place at a worker that serves.", func(n *Numbers) float64 { return float64(n.Gate.Queued) }),
	gauge("oldest_stream_age_seconds", "Age of the oldest open stream; 0: none is open.", func(n *Numbers) float64 { return float64(n.Streams.OldestMS) / 1e3 }),
	histogram("hold_wait_seconds", "How long streams waited for a life to serve.", func(n *Numbers) Histogram { return n.HoldWait }),
	histogram("queue_wait_seconds", "How long streams waited for a place at a worker that serves.", func(n *Numbers) Histogram { return n.QueueWait }),
	histogram("time_to_first_byte_seconds", "From a request's whole head to the first byte of the worker's answer, waits included.", func(n *Numbers) Histogram { return n.FirstByte }),
	histogram("token_gap_seconds", "Between two pieces of an event stream on their way to the client.", func(n *Numbers) Histogram { return n.TokenGap }),
	histogram("worker_connect_seconds", "How long a connection to the worker took.", func(n *Numbers) Histogram { return n.Connect }),
	counter("early_answers_total", "Answers that were begun before the worker had said anything.", func(n *Numbers) int64 { return n.Early }),
	counter("early_answers_failed_total", "Of them, those that became an error event.", func(n *Numbers) int64 { return n.EarlyFailed }),
	counter("heartbeats_total", "Comments sent into event streams that were silent.", func(n *Numbers) int64 { return n.Heartbeats }),
	counter("events_too_long_total", "Event streams with an event too long to be judged.", func(n *Numbers) int64 { return n.TooLong }),

	counters("requests_retried_total", "Requests given to the worker again, by what they had lost.", "lost", func(n *Numbers) map[string]int64 { return n.Retries }),
	counters("requests_uncopied_total", "Requests that went to the worker without a copy to be given again, by why.", "why", func(n *Numbers) map[string]int64 { return n.Uncopied }),
	gauge("request_copies_bytes", "Memory that copies of requests take.", func(n *Numbers) float64 { return float64(n.CopyBytes) }),
	gauge("request_copies_limit_bytes", "How much they may take together.", func(n *Numbers) float64 { return float64(n.CopyLimit) }),
	gauge("suspects_waiting", "Requests that a life may have died of, waiting to be tried alone.", func(n *Numbers) float64 { return float64(n.Suspects) }),
	counter("suspects_condemned_total", "Requests that two lives were held to have died of.", func(n *Numbers) int64 { return n.Condemned }),
	counter("suspects_refused_total", "The same requests, refused when they were sent again.", func(n *Numbers) int64 { return n.SuspectsRefused }),
	gauge("worker_connections_kept", "Connections to the worker between two requests.", func(n *Numbers) float64 { return float64(n.Kept) }),
	counter("worker_connections_opened_total", "Connections made to the worker.", func(n *Numbers) int64 { return n.Opened }),
	counter("worker_connections_reused_total", "Requests that went over a kept connection.", func(n *Numbers) int64 { return n.Reused }),

	{
		name: "front_connections", help: "Client connections of a front.", kind: prometheus.GaugeValue, labels: []string{"front"},
		samples: func(n *Numbers, out emit) {
			for _, f := range n.Fronts {
				out(float64(f.Connections), f.Listen)
			}
		},
	},
	{
		name: "front_streams_open", help: "Open streams of a front.", kind: prometheus.GaugeValue, labels: []string{"front"},
		samples: func(n *Numbers, out emit) {
			for _, f := range n.Fronts {
				out(float64(f.Open), f.Listen)
			}
		},
	},
	gauge("connections", "Client connections, idle ones included.", func(n *Numbers) float64 { return float64(n.Connections) }),
	gauge("connections_limit", "How many client connections there may be.", func(n *Numbers) float64 { return float64(n.Slots) }),
	counter("connections_accepted_total", "Client connections accepted.", func(n *Numbers) int64 { return n.Accepted }),
	counter("connections_shed_total", "Idle client connections closed to make room.", func(n *Numbers) int64 { return n.Shed }),
	counter("connections_turned_away_total", "Client connections of addresses that had as many as they may.", func(n *Numbers) int64 { return n.TurnedAway }),
	counter("accept_pauses_total", "Times that a connection had to wait for want of room or of descriptors.", func(n *Numbers) int64 { return n.Paused }),
	counters("bytes_total", "Bytes to and from clients.", "direction", func(n *Numbers) map[string]int64 { return n.Bytes }),
	{
		name: "lane_busy_seconds_total", help: "Time that a lane spent on its connections; it grows by 1 a second when it does nothing else.",
		kind: prometheus.CounterValue, labels: []string{"lane"},
		samples: func(n *Numbers, out emit) {
			for i, busy := range n.LaneBusy {
				out(busy.Seconds(), strconv.Itoa(i))
			}
		},
	},
	counter("log_records_lost_total", "Streams of which the log should have told and could not in time.", func(n *Numbers) int64 { return n.LogLost }),
	gauge("arena_size_bytes", "What the memory that outlives a runner could come to.", func(n *Numbers) float64 { return float64(n.ArenaSize) }),
	gauge("arena_touched_bytes", "What there is of it now; 0: not known.", func(n *Numbers) float64 { return float64(n.ArenaTouched) }),
	gauge("state_writable", "0 while restarts can't be recorded on disk.", func(n *Numbers) float64 { return yes(n.StateError == "") }),
	counter("state_errors_total", "Times that something could not be recorded on disk.", func(n *Numbers) int64 { return n.StateErrors }),
	counter("clock_jumps_total", "Times that the machine's wall clock was seen to jump.", func(n *Numbers) int64 { return n.ClockJumps }),
}

// collector turns Numbers into samples, anew for each scrape.
type collector struct {
	numbers func() Numbers
	descs   []*prometheus.Desc // of families
}

func newCollector(numbers func() Numbers) *collector {
	c := &collector{numbers: numbers}
	for _, f := range families {
		c.descs = append(c.descs, prometheus.NewDesc(prefix+f.name, f.help, f.labels, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	n := c.numbers()
	for i, f := range families {
		if f.times != nil {
			f.times(&n, func(h Histogram, labels ...string) { out <- h.metric(c.descs[i], labels) })
			continue
		}
		f.samples(&n, func(v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(c.descs[i], f.kind, v, labels...)
		})
	}
}

func (h Histogram) metric(d *prometheus.Desc, labels []string) prometheus.Metric {
	upTo := make(map[float64]uint64, len(h.Bounds))
	var n uint64
	for i, bound := range h.Bounds {
		n += uint64(h.Counts[i])
		upTo[bound.Seconds()] = n
	}
	if len(h.Counts) > 0 {
		n += uint64(h.Counts[len(h.Counts)-1])
	}
	return prometheus.MustNewConstHistogram(d, n, h.Sum.Seconds(), upTo, labels...)
}

// mostScrapes is how many scrapes may be under way at once; one takes a millisecond.
const mostScrapes = 4

// metrics answers GET /metrics, in the text format or in OpenMetrics, as it is asked for. What Go's own collectors say
// (go_..., process_...) is of the runner in office, and begins anew with each.
func metrics(b Backend) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(b.Numbers), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: mostScrapes})
}
