package watch

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"maps"
	"slices"

	"autoglm-sidecar/gpu"
)

// memory is what outlives the sidecar, in gob: its fields go by their names, so one that is added or gone is no trouble.
type memory struct {
	Life    int64
	Served  bool
	Devices []remembered
}

type remembered struct {
	Device   gpu.Device
	Trouble  gpu.Trouble
	Lost     int // samples in a row
	Baseline gpu.Bytes
	Highest  gpu.Bytes
	Need     gpu.Bytes
	PIDs     []int
	Minute   gpu.Minute
	Forecast *gpu.Memory
	Contexts gpu.ContextsMemory
	Curve    []gpu.Minute
	Faults   []byte
}

// Append appends all that has to outlive the sidecar: some 5 KiB a device, for a window of four hours 8; half of it when it was
// compressed.
func (w *Watch) Append(b []byte) ([]byte, error) {
	m := memory{Life: w.life, Served: w.served}
	for _, d := range w.all() {
		r := remembered{
			Device: d.Device, Trouble: d.sample.Trouble, Lost: d.lost, Baseline: d.baseline, Highest: d.highest, Need: d.need,
			Minute: d.minutes.Now, Contexts: d.contexts.Memory(), Curve: d.curve, Faults: d.faults.Append(nil),
			PIDs: slices.Sorted(maps.Keys(d.pids)),
		}
		if d.forecast != nil {
			r.Forecast = new(d.forecast.Memory())
		}
		m.Devices = append(m.Devices, r)
	}
	out := bytes.NewBuffer(b)
	if err := gob.NewEncoder(out).Encode(m); err != nil {
		return nil, fmt.Errorf("write what is known of the GPUs: %w", err)
	}
	return out.Bytes(), nil
}

// Restore takes what an earlier sidecar appended, before any device is known. Nothing is taken of what can't be read.
func (w *Watch) Restore(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	var m memory
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&m); err != nil {
		return fmt.Errorf("read what was known of the GPUs: %w", err)
	}
	w.life, w.served = m.Life, m.Served
	for _, r := range m.Devices {
		w.absent = append(w.absent, w.recall(r))
	}
	return nil
}

func (w *Watch) recall(r remembered) *device {
	d := w.fresh(r.Device)
	d.baseline, d.highest, d.need, d.minutes.Now, d.curve = r.Baseline, r.Highest, r.Need, r.Minute, r.Curve
	d.sample = gpu.Sample{Device: d.UUID, Trouble: r.Trouble, Total: d.Total}
	d.lost = r.Lost
	for _, pid := range r.PIDs {
		d.pids[pid] = true
	}
	d.contexts = gpu.RecallContexts(r.Contexts)
	if r.Forecast != nil {
		d.forecast = gpu.Recall(w.rulesOf(d), *r.Forecast)
	}
	if f, err := gpu.ReadFaults(w.faultRules(d.Device), r.Faults); err == nil {
		d.faults = f
	}
	return d
}
