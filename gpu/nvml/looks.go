//go:build cgo && linux

package main

import (
	"cmp"
	"math"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"autoglm-sidecar/gpu"
)

// unavailable is the size of a process that the driver doesn't know.
const unavailable = math.MaxUint64

// sample looks at a device's memory. The error tells more than the line: which failures a new process may end.
func sample(l *library, d *device) (gpu.Sample, nvml.Return) {
	s := gpu.Sample{Device: d.UUID}
	m, r := l.memory(d)
	if r != nvml.SUCCESS {
		s.Trouble, s.Detail = trouble(r), text(r)
		return s, r
	}
	s.Total, s.Used, s.Free, s.Reserved = m.total, m.used, m.free, m.reserved
	s.Utilisation, s.Temperature = l.utilisation(d), l.temperature(d)
	return s, r
}

// processes looks at who has memory on a device.
func processes(l *library, d *device) gpu.Processes {
	p := gpu.Processes{Device: d.UUID}
	list, r := l.processes(d)
	if r != nvml.SUCCESS {
		p.Trouble, p.Detail = trouble(r), text(r)
		return p
	}
	p.Processes = merged(list)
	return p
}

// merged adds up what one process has in several entries of the lists. What isn't known of one of them isn't known of the sum.
func merged(list []nvml.ProcessInfo) []gpu.Process {
	var all []gpu.Process
	for _, info := range list {
		p := gpu.Process{PID: int(info.Pid), Bytes: -1, GI: number(info.GpuInstanceId), CI: number(info.ComputeInstanceId)}
		if info.UsedGpuMemory != unavailable {
			p.Bytes = gpu.Bytes(info.UsedGpuMemory)
		}
		i := slices.IndexFunc(all, func(q gpu.Process) bool { return q.PID == p.PID && q.GI == p.GI && q.CI == p.CI })
		switch {
		case i < 0:
			all = append(all, p)
		case all[i].Bytes < 0 || p.Bytes < 0:
			all[i].Bytes = -1
		default:
			all[i].Bytes += p.Bytes
		}
	}
	slices.SortFunc(all, func(a, b gpu.Process) int { return cmp.Compare(a.PID, b.PID) })
	return all
}

// condition looks at how the device itself is; of an instance, at its GPU.
func condition(l *library, d *device) gpu.Condition {
	c := gpu.Condition{Device: d.UUID}
	if _, r := l.memory(d); r == nvml.ERROR_GPU_IS_LOST || r == nvml.ERROR_RESET_REQUIRED {
		c.Trouble = trouble(r)
	}
	c.Recovery, c.ClockReasons, c.Uncorrected = l.recovery(d), l.clockReasons(d), l.uncorrected(d)
	if rows, r := l.rows(d); r == nvml.SUCCESS {
		c.RowsCorrected, c.RowsBad, c.RowsPending, c.RowsFailed = &rows.corrected, &rows.bad, &rows.pending, &rows.failed
	}
	return c
}
