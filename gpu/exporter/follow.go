package exporter

import (
	"reflect"

	"autoglm-sidecar/gpu"
)

// rounding is by how much a device's total may differ from look to look: it is a sum of up to three numbers, each rounded to MiB.
const rounding = 4 << 20

// devices follow what the exporter says from look to look.
type devices struct {
	system *gpu.System
	totals map[string]gpu.Bytes // by UUID
	xids   map[string]uint64    // the last of each device, by UUID
}

// follow returns the lines of a look.
func (d *devices) follow(now look) []gpu.Line {
	if d.totals == nil {
		d.totals, d.xids = map[string]gpu.Bytes{}, map[string]uint64{}
	}
	system := &gpu.System{Library: gpu.Reads, Driver: now.driver, CUDA: now.cuda}
	var samples, events []gpu.Line
	for _, r := range now.rows {
		id := r.device.UUID
		if total := r.device.Total; total > 0 {
			// A total that goes up and down would be another system each time.
			if before, ok := d.totals[id]; ok && max(before-total, total-before) <= rounding {
				total = before
			}
			d.totals[id] = total
			r.device.Total, r.sample.Total = total, total
		}
		system.Devices = append(system.Devices, r.device)
		samples = append(samples, gpu.Line{Sample: &r.sample})
		if r.xid != nil {
			// What is there at first may be days old. The same one a second time can't be seen.
			before, known := d.xids[id]
			if d.xids[id] = *r.xid; known && *r.xid != before && *r.xid != 0 {
				events = append(events, gpu.Line{Event: &gpu.Event{Device: r.gpu(), Xid: *r.xid, GI: r.device.GI}})
			}
		}
	}
	var lines []gpu.Line
	if !reflect.DeepEqual(system, d.system) {
		d.system = system
		lines = append(lines, gpu.Line{System: system})
		d.forget()
	}
	return append(append(lines, samples...), events...)
}

// gpu is the whole GPU's UUID: events are told of that, as NVML does.
func (r *row) gpu() string {
	if r.device.Parent != "" {
		return r.device.Parent
	}
	return r.device.UUID
}

// forget drops the totals of devices that aren't there any more. Their Xids stay as long as there is room: a GPU that comes back with
// the same one has told nothing new.
func (d *devices) forget() {
	here := map[string]bool{}
	for _, device := range d.system.Devices {
		here[device.UUID] = true
	}
	for id := range d.totals {
		if !here[id] {
			delete(d.totals, id)
		}
	}
	if len(d.xids) > 4*mostDevices {
		for id := range d.xids {
			if !here[id] {
				delete(d.xids, id)
			}
		}
	}
}
