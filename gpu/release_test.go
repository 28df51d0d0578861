package gpu

import (
	"strings"
	"testing"
)

func TestMemoryIsFreeForTheNextLife(t *testing.T) {
	const total = 80 * GiB
	used := func(b Bytes) Sample { return Sample{Total: total, Used: b, Free: total - b} }
	for _, test := range []struct {
		name string
		left Left
		held string // "": it is free
	}{
		{"as it was", Left{Sample: used(600 * MiB), Baseline: 600 * MiB}, ""},
		{"a little more than it was", Left{Sample: used(1300 * MiB), Baseline: 600 * MiB}, ""},
		{"more than a little", Left{Sample: used(1500 * MiB), Baseline: 600 * MiB}, "900 MiB of GPU 2, held by no process that the driver lists"},
		{"one of its processes is listed", Left{
			Sample: used(22 * GiB), Processes: Processes{Processes: []Process{{PID: 4711, Bytes: 21 * GiB}}},
		}, "PID 4711 (VLLM::EngineCor) holds 21.0 GiB of GPU 2"},
		{"and it doesn't matter how little that holds", Left{
			Sample: used(600 * MiB), Baseline: 600 * MiB, Processes: Processes{Processes: []Process{{PID: 4711, Bytes: -1}}},
		}, "PID 4711 (VLLM::EngineCor) is on GPU 2"},
		{"a neighbour came, and there is enough", Left{
			Sample: used(30 * GiB), Need: 40 * GiB, Processes: Processes{Processes: []Process{{PID: 9, Bytes: 29 * GiB}}},
		}, ""},
		{"a neighbour came, and there isn't", Left{
			Sample: used(50 * GiB), Need: 40 * GiB, Processes: Processes{Processes: []Process{{PID: 9, Bytes: 29 * GiB}, {PID: 8, Bytes: 20 * GiB}}},
		}, "30.0 GiB of GPU 2 are free and 40.0 GiB are needed: PID 9 holds 29.0 GiB of GPU 2, PID 8 holds 20.0 GiB of GPU 2"},
		{"a neighbour was there before, and nothing has changed", Left{
			Sample: used(50 * GiB), Baseline: 50 * GiB, Need: 40 * GiB, Processes: Processes{Processes: []Process{{PID: 9, Bytes: 50 * GiB}}},
		}, ""},
		{"shared, says the user, with nobody that is listed", Left{Sample: used(50 * GiB), Need: 40 * GiB, Shared: true}, "no process is listed"},
		{"nothing is known but that its processes are gone", Left{Sample: used(50 * GiB), Baseline: -1}, ""},
		{"more than a little, for long, and there is room", Left{Sample: used(1500 * MiB), Baseline: 600 * MiB, Need: 40 * GiB, Patient: true}, ""},
		{"and there is none", Left{Sample: used(50 * GiB), Baseline: 600 * MiB, Need: 40 * GiB, Patient: true}, "held by no process"},
		{"one of its processes is listed, for long", Left{
			Sample: used(22 * GiB), Need: 40 * GiB, Patient: true, Processes: Processes{Processes: []Process{{PID: 4711, Bytes: 21 * GiB}}},
		}, "PID 4711"},
		{"the device is lost", Left{Sample: Sample{Trouble: Lost}}, "GPU 2 can't be read: lost"},
	} {
		test.left.Device.Index = 2
		test.left.Mine = func(pid int) bool { return pid == 4711 }
		test.left.Name = func(pid int) string {
			if pid == 4711 {
				return "VLLM::EngineCor"
			}
			return ""
		}
		free, held := test.left.Free()
		if free != (test.held == "") || !strings.Contains(held, test.held) {
			t.Errorf("%s: free %v, %q; want %q", test.name, free, held, test.held)
		}
	}
}
