package exporter

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/health/probe/lastwords"
)

const (
	// mostDevices is more than any machine has.
	mostDevices = 256
	// mostMiB is more than any device has, and less than DCGM's numbers for "blank", which begin with 0x7ffffff0.
	mostMiB = 1 << 28
)

// look is what the exporter says at one time.
type look struct {
	driver string
	cuda   int
	rows   []*row // sorted: by index, a GPU's instances behind it
}

// row is one device.
type row struct {
	device gpu.Device
	sample gpu.Sample
	known  struct{ used, free, total bool }
	total  gpu.Bytes // as told
	xid    *uint64   // the last; nil: not told
}

// fields are what is read, and how.
var fields = map[string]func(*row, float64){
	"DCGM_FI_DEV_FB_USED":     func(r *row, v float64) { r.known.used = memory(&r.sample.Used, v) || r.known.used },
	"DCGM_FI_DEV_FB_FREE":     func(r *row, v float64) { r.known.free = memory(&r.sample.Free, v) || r.known.free },
	"DCGM_FI_DEV_FB_RESERVED": func(r *row, v float64) { memory(&r.sample.Reserved, v) },
	"DCGM_FI_DEV_FB_TOTAL":    func(r *row, v float64) { r.known.total = memory(&r.total, v) || r.known.total },
	"DCGM_FI_DEV_GPU_UTIL":    func(r *row, v float64) { whole(&r.sample.Utilisation, v, 100) },
	"DCGM_FI_DEV_GPU_TEMP":    func(r *row, v float64) { whole(&r.sample.Temperature, v, 1000) },
	"DCGM_FI_DEV_XID_ERRORS":  func(r *row, v float64) { whole(&r.xid, v, 1<<20) },
}

// memory takes MiB; it returns false, and changes nothing, if they make no sense. NaN is neither more nor less.
func memory(to *gpu.Bytes, mib float64) bool {
	if !(mib >= 0 && mib <= mostMiB) {
		return false
	}
	*to = gpu.Bytes(math.Round(mib * (1 << 20)))
	return true
}

// whole takes a number that makes sense.
func whole[N int | uint64](to **N, v, most float64) {
	if v >= 0 && v <= most && v == math.Trunc(v) {
		*to = new(N(v))
	}
}

// parse reads the exporter's text. It is an error that there is no GPU in it.
func parse(text []byte) (look, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return look{}, errors.New(lastwords.Fit(err.Error()))
	}
	var now look
	rows := map[string]*row{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		for _, m := range families[name].GetMetric() {
			labels := named(m)
			r, ok := rowOf(labels)
			if !ok {
				continue
			}
			if has, ok := rows[r.device.UUID]; ok {
				r = has // it is told once for each container that shares it, with the same number
			} else if len(rows) == mostDevices {
				return look{}, fmt.Errorf("it tells of more than %d devices", mostDevices)
			}
			rows[r.device.UUID] = r
			fields[name](r, value(m))
			if now.driver == "" {
				now.driver = lastwords.Fit(labels["DCGM_FI_DRIVER_VERSION"])
			}
			if n, err := strconv.Atoi(labels["DCGM_FI_CUDA_DRIVER_VERSION"]); err == nil && n >= 1000 && n < 1_000_000 {
				now.cuda = n
			}
		}
	}
	if len(rows) == 0 {
		return look{}, errors.New("it tells of no GPU: is it a dcgm-exporter, and does it see any?")
	}
	for _, r := range rows {
		if parent, ok := rows[r.device.Parent]; ok {
			parent.device.MIG = true
		}
		r.finish()
	}
	now.rows = slices.SortedFunc(maps.Values(rows), func(a, b *row) int {
		x, y := a.device, b.device
		return cmp.Or(cmp.Compare(x.Index, y.Index), cmp.Compare(cmp.Or(x.Parent, x.UUID), cmp.Or(y.Parent, y.UUID)),
			cmp.Compare(len(x.Parent), len(y.Parent)), cmp.Compare(x.GI, y.GI))
	})
	return now, nil
}

func named(m *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	return labels
}

// value is a gauge's, or of whatever type an exporter's configuration declares it to be.
func value(m *dto.Metric) float64 {
	switch {
	case m.Gauge != nil:
		return m.GetGauge().GetValue()
	case m.Counter != nil:
		return m.GetCounter().GetValue()
	case m.Untyped != nil:
		return m.GetUntyped().GetValue()
	}
	return math.NaN()
}

// rowOf makes the row of a device, of which only the names are known. ok is false if they make no sense.
func rowOf(labels map[string]string) (r *row, ok bool) {
	uuid := cmp.Or(labels["UUID"], labels["uuid"]) // the second with --use-old-namespace
	index, err := strconv.Atoi(labels["gpu"])
	if uuid == "" || uuid != lastwords.Fit(uuid) || err != nil || index < 0 {
		return nil, false
	}
	d := gpu.Device{
		UUID: uuid, Index: index, Name: lastwords.Fit(labels["modelName"]), Bus: lastwords.Fit(labels["pci_bus_id"]),
	}
	if id := labels["GPU_I_ID"]; id != "" {
		gi, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, false
		}
		// It has no UUID of its own here.
		d.Parent, d.GI, d.UUID = uuid, uint32(gi), fmt.Sprintf("%s/%d", uuid, gi)
		if profile := lastwords.Fit(labels["GPU_I_PROFILE"]); profile != "" {
			d.Name += " MIG " + profile
		}
	}
	return &row{device: d, sample: gpu.Sample{Device: d.UUID}}, true
}

// finish fills in what follows from what was told.
func (r *row) finish() {
	if !r.known.used || !r.known.free {
		r.device.Error = "the exporter doesn't tell its memory"
		r.sample = gpu.Sample{Device: r.device.UUID, Trouble: gpu.Unsupported, Detail: r.device.Error}
		return
	}
	if !r.known.total {
		r.total = r.sample.Used + r.sample.Free + r.sample.Reserved
	}
	r.sample.Total, r.device.Total = r.total, r.total
}
