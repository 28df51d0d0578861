package admin

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// The families about GPUs: one sample for each device of the worker. What isn't known of a device has no sample: a 0 would be drawn as
// memory that is gone, or as a GPU without a fault.

// gpuLabels are what each has. An index is what people say and may be another after a reboot; the UUID stays.
var gpuLabels = []string{"gpu", "index"}

func (g *GPU) labels(more ...string) []string {
	return append([]string{g.UUID, strconv.Itoa(g.Index)}, more...)
}

// ofGPUs has a sample for each device of which the value is known.
func ofGPUs(kind prometheus.ValueType, name, help string, value func(*GPU) (v float64, known bool)) family {
	return family{name: "gpu_" + name, help: help, kind: kind, labels: gpuLabels, samples: func(n *Numbers, out emit) {
		for i := range n.GPUs {
			if v, known := value(&n.GPUs[i]); known {
				out(v, n.GPUs[i].labels()...)
			}
		}
	}}
}

func gpuGauge(name, help string, value func(*GPU) (v float64, known bool)) family {
	return ofGPUs(prometheus.GaugeValue, name, help, value)
}

// gpuFlags has, for each device of which it is known, 1 for the words that hold and 0 for the others.
func gpuFlags(name, help, label string, all []string, holds func(*GPU) (words []string, known bool)) family {
	return family{name: "gpu_" + name, help: help, kind: prometheus.GaugeValue, labels: append(slices.Clone(gpuLabels), label), samples: func(n *Numbers, out emit) {
		for i := range n.GPUs {
			words, known := holds(&n.GPUs[i])
			if !known {
				continue
			}
			for _, word := range all {
				out(yes(slices.Contains(words, word)), n.GPUs[i].labels(word)...)
			}
		}
	}}
}

func sampled(bytes func(*GPU) int64) func(*GPU) (float64, bool) {
	return func(g *GPU) (float64, bool) { return float64(bytes(g)), g.Sampled() }
}

// unlessZero and unlessNegative are for what isn't known at 0, or below it.
func unlessZero(value func(*GPU) int64) func(*GPU) (float64, bool) {
	return func(g *GPU) (float64, bool) { v := value(g); return float64(v), v > 0 }
}

func unlessNegative(value func(*GPU) int64) func(*GPU) (float64, bool) {
	return func(g *GPU) (float64, bool) { v := value(g); return float64(v), v >= 0 }
}

func unlessNil[T any](value func(*GPU) *T, of func(T) float64) func(*GPU) (float64, bool) {
	return func(g *GPU) (float64, bool) {
		if v := value(g); v != nil {
			return of(*v), true
		}
		return 0, false
	}
}

func perSecond(perMinute float64) float64 { return perMinute / 60 }

// judged is for what is only said of a life that serves.
func judged(flag func(*GPU) bool) func(*GPU) (float64, bool) {
	return func(g *GPU) (float64, bool) { return yes(flag(g)), g.Stage != "" }
}

// ofReader has samples while there is a reader.
func ofReader(name, help string, kind prometheus.ValueType, labels []string, samples func(*GPUReader, emit)) family {
	return family{name: "gpu_reader_" + name, help: help, kind: kind, labels: labels, samples: func(n *Numbers, out emit) {
		if n.GPUReader != nil {
			samples(n.GPUReader, out)
		}
	}}
}

// ofPlan has samples where something may be planned.
func ofPlan(name, help string, value func(*Planned) (v float64, known bool)) family {
	return family{name: name, help: help, kind: prometheus.GaugeValue, samples: func(n *Numbers, out emit) {
		if n.Planned == nil {
			return
		}
		if v, known := value(n.Planned); known {
			out(v)
		}
	}}
}

// mostXids is how many codes of one device have a sample of their own; the rest is counted together.
const mostXids = 200

func xids(n *Numbers, out emit) {
	for i := range n.GPUs {
		g := &n.GPUs[i]
		codes := slices.SortedFunc(maps.Keys(g.Xids), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) // numbers, the smallest first
		})
		var rest int64
		for k, code := range codes {
			if k < mostXids {
				out(float64(g.Xids[code]), g.labels(code)...)
			} else {
				rest += g.Xids[code]
			}
		}
		if len(codes) > mostXids {
			out(float64(rest), g.labels(otherWord)...)
		}
	}
}

// gpuFamilies are part of families.
var gpuFamilies = []family{
	ofReader("state", "1 for how the program that reads the GPUs stands, 0 for the others; none: nothing is to be read.", prometheus.GaugeValue, []string{"state"}, func(r *GPUReader, out emit) {
		for _, state := range ReaderStates {
			out(yes(state == r.State), state)
		}
	}),
	ofReader("starts_total", "Times that it was started.", prometheus.CounterValue, nil, func(r *GPUReader, out emit) { out(float64(r.Starts)) }),

	gpuGauge("memory_total_bytes", "Memory of the GPU.", unlessZero(func(g *GPU) int64 { return g.TotalBytes })),
	gpuGauge("memory_used_bytes", "What is used of it, whosever, without what is reserved.", sampled(func(g *GPU) int64 { return g.UsedBytes })),
	gpuGauge("memory_free_bytes", "What is free of it.", sampled(func(g *GPU) int64 { return g.FreeBytes })),
	gpuGauge("memory_reserved_bytes", "What driver and firmware have reserved of it, where they tell.", unlessZero(func(g *GPU) int64 { return g.ReservedBytes })),
	gpuGauge("worker_memory_bytes", "What the worker uses of it.", unlessNegative(func(g *GPU) int64 { return g.WorkerBytes })),
	gpuGauge("others_memory_bytes", "What others than the worker use of it.", unlessNegative(func(g *GPU) int64 { return g.OthersBytes })),
	gpuGauge("baseline_bytes", "What was used of it before the life began.", unlessNegative(func(g *GPU) int64 { return g.BaselineBytes })),
	gpuGauge("need_bytes", "What has to be free of it for the next life.", unlessZero(func(g *GPU) int64 { return g.NeedBytes })),
	gpuGauge("plateau_bytes", "What the worker uses of it when it has warmed up.", unlessZero(func(g *GPU) int64 { return g.PlateauBytes })),
	gpuGauge("limit_bytes", "What the worker may use of it at most.", unlessZero(func(g *GPU) int64 { return g.LimitBytes })),
	gpuGauge("slope_bytes_per_second", "How fast the worker's memory grows.", unlessNil(func(g *GPU) *float64 { return g.SlopeBytesPerMinute }, perSecond)),
	gpuGauge("bound_bytes_per_second", "How fast it grows at least: the lower end of the slope's interval.", unlessNil(func(g *GPU) *float64 { return g.BoundBytesPerMinute }, perSecond)),
	gpuGauge("seconds_to_limit", "When the limit is reached by that; none: the trend does not lead there.", unlessZero(func(g *GPU) int64 { return g.FullInSeconds })),
	gpuFlags("mode", "1 for how the worker's memory is told from others', 0 for the other ways; all 0: no life has been looked at.", "mode", GPUModes, func(g *GPU) ([]string, bool) {
		return []string{g.Mode}, true
	}),
	gpuFlags("stage", "1 for how far the forecast of its memory is, 0 for the others; all 0: no life serves.", "stage", GPUStages, func(g *GPU) ([]string, bool) {
		return []string{g.Stage}, true
	}),
	gpuGauge("foreseen", "1 while its memory is foreseen to be full within the horizon.", judged(func(g *GPU) bool { return g.Foreseen })),
	gpuGauge("soft", "1 while most of what the worker may grow by is used.", judged(func(g *GPU) bool { return g.Soft })),
	gpuGauge("hard", "1 while the worker's memory is full in all but name.", judged(func(g *GPU) bool { return g.Hard })),
	gpuGauge("contexts", "Processes of the worker on the GPU.", unlessZero(func(g *GPU) int64 { return int64(g.Contexts) })),
	gpuGauge("contexts_expected", "How many it had when it had warmed up.", unlessZero(func(g *GPU) int64 { return int64(g.ContextsExpected) })),

	gpuGauge("utilisation_ratio", "Share of the last second in which the GPU was busy.", unlessNil(func(g *GPU) *int { return g.UtilisationPercent }, func(p int) float64 { return float64(p) / 100 })),
	gpuGauge("temperature_celsius", "Temperature of the GPU.", unlessNil(func(g *GPU) *int { return g.TemperatureCelsius }, func(t int) float64 { return float64(t) })),
	gpuFlags("clock_reason", "1 for each reason why its clocks are not at their highest, 0 for the others.", "reason", GPUClockReasons, func(g *GPU) ([]string, bool) {
		return g.ClockReasons, g.ClockReasons != nil
	}),
	ofGPUs(prometheus.CounterValue, "ecc_uncorrected_total", "ECC errors that could not be corrected, since the driver was loaded.", unlessNil(func(g *GPU) *uint64 { return g.UncorrectedECC }, func(n uint64) float64 { return float64(n) })),
	gpuGauge("rows_pending", "1 while a bad row of its memory waits for a reset to be replaced.", unlessNil(func(g *GPU) *bool { return g.RowsPending }, yes)),
	gpuGauge("rows_failed", "1 if a bad row of its memory could not be replaced.", unlessNil(func(g *GPU) *bool { return g.RowsFailed }, yes)),
	gpuFlags("recovery_action", "1 for what the driver wants done with the GPU, 0 for the others.", "action", GPURecoveries, func(g *GPU) ([]string, bool) {
		return []string{g.Recovery}, g.Recovery != ""
	}),
	{
		name: "gpu_xids_total", help: "Faults that the driver told of, by their code.", kind: prometheus.CounterValue,
		labels: append(slices.Clone(gpuLabels), "xid"), samples: xids,
	},
	gpuFlags("trouble", "1 for what keeps the GPU from being read, 0 for the others; all 0: nothing does.", "trouble", GPUTroubles, func(g *GPU) ([]string, bool) {
		return []string{g.Trouble}, true
	}),
	gpuGauge("halted", "1 while no life may be started on the GPU.", func(g *GPU) (float64, bool) { return yes(g.Halted != ""), true }),
	{
		name: "gpu_latched", help: "1 while no restart is made for the GPU's memory, since the last gave nothing back.", kind: prometheus.GaugeValue, labels: gpuLabels,
		samples: func(n *Numbers, out emit) {
			for i := range n.GPUs {
				if g := &n.GPUs[i]; n.Planned != nil {
					out(yes(slices.Contains(n.Planned.Latched, g.UUID)), g.labels()...)
				}
			}
		},
	},

	ofPlan("planned_max_age_seconds", "How old this life may become; none: as old as it will.", func(p *Planned) (float64, bool) { return float64(p.MaxAgeSeconds), p.MaxAgeSeconds > 0 }),
	ofPlan("planned_window_open", "1 while restarts that can wait may be made.", func(p *Planned) (float64, bool) { return yes(p.WindowOpen), true }),
	ofPlan("planned_next_window_timestamp_seconds", "When they may next, since the epoch; none: at any time, or never.", func(p *Planned) (float64, bool) {
		return float64(p.NextWindow.UnixMilli()) / 1e3, !p.NextWindow.IsZero()
	}),
}
