package gpu

import "testing"

const gib = 1024 * MiB

// at is what the driver says at one time, in GiB.
type at struct {
	used      Bytes
	trouble   Trouble
	processes []Process
	blocked   Trouble // of the list
	want      Use     // in GiB
}

func p(pid int, bytes Bytes) Process {
	if bytes > 0 {
		bytes *= gib
	}
	return Process{PID: pid, Bytes: bytes}
}

func in(gi, ci uint32, p Process) Process {
	p.GI, p.CI = gi, ci
	return p
}

func procs(p ...Process) []Process { return p }

// TestAWorkersMemoryIsToldFromOthers: the worker is 100 to 199; 3 GiB were used before it began.
func TestAWorkersMemoryIsToldFromOthers(t *testing.T) {
	instance := Device{UUID: "MIG-a", Parent: "GPU-1", GI: 2, CI: 1}
	gap := func(m Mode, contexts int) Use { return Use{Mode: m, Contexts: contexts} }
	for what, c := range map[string]struct {
		device    Device
		exclusive bool
		looks     []at
	}{
		"listed": {looks: []at{
			{used: 3, want: gap(Blind, 0)},
			{used: 75, processes: procs(p(100, 70), p(101, 2)), want: Use{Mode: ByProcess, Used: 72, Others: 3, Contexts: 2, OK: true}},
		}},
		"the list is older than the sample": {looks: []at{
			{used: 60, processes: procs(p(100, 72)), want: Use{Mode: ByProcess, Used: 72, Others: 0, Contexts: 1, OK: true}},
		}},
		"a neighbour comes and goes": {looks: []at{
			{used: 33, processes: procs(p(100, 30)), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
			{used: 53, processes: procs(p(100, 30), p(9, 20)), want: Use{Mode: ByProcess, Used: 30, Others: 23, Contexts: 1, OK: true}},
			{used: 33, processes: procs(p(100, 30)), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
		}},
		"it vanishes from the list": {looks: []at{
			{used: 33, processes: procs(p(100, 30)), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
			{used: 33, want: gap(ByProcess, 0)},
			{used: 33, processes: procs(p(9, 30)), want: gap(ByProcess, 0)},
			{used: 33, processes: procs(p(100, 30)), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
		}},
		"one of two vanishes: it has ended": {looks: []at{
			{used: 36, processes: procs(p(100, 30), p(101, 3)), want: Use{Mode: ByProcess, Used: 33, Others: 3, Contexts: 2, OK: true}},
			{used: 33, processes: procs(p(100, 30)), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
		}},
		"vanished, though the device is ours": {exclusive: true, looks: []at{
			{used: 33, processes: procs(p(100, 30)), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
			{used: 33, want: gap(ByProcess, 0)},
		}},
		"a container with foreign PIDs": {looks: []at{
			{used: 75, processes: procs(p(4711, 72)), want: gap(Blind, 0)},
		}},
		"a container with foreign PIDs on a device of its own": {exclusive: true, looks: []at{
			{used: 3, processes: procs(p(9, 3)), want: gap(Blind, 0)},
			{used: 75, processes: procs(p(4711, 70), p(4712, 2)), want: Use{Mode: ByDevice, Used: 72, Others: 3, Contexts: 2, OK: true}},
			{used: 76, processes: procs(p(4711, 71), p(4712, 2)), want: Use{Mode: ByDevice, Used: 73, Others: 3, Contexts: 2, OK: true}},
			{used: 3, want: gap(ByDevice, 0)},
		}},
		"an empty list":                         {looks: []at{{used: 75, want: gap(Blind, 0)}}},
		"an empty list on a device of its own":  {exclusive: true, looks: []at{{used: 75, want: Use{Mode: ByDevice, Used: 72, Others: 3, Contexts: 0, OK: true}}}},
		"no list":                               {looks: []at{{used: 75, blocked: Unpermitted, want: gap(Blind, 0)}}},
		"no list on a device of its own":        {exclusive: true, looks: []at{{used: 75, blocked: Unpermitted, want: Use{Mode: ByDevice, Used: 72, Others: 3, Contexts: 0, OK: true}}}},
		"first a list, then none":               {exclusive: true, looks: []at{{used: 75, processes: procs(p(100, 72)), want: Use{Mode: ByProcess, Used: 72, Others: 3, Contexts: 1, OK: true}}, {used: 75, blocked: Unreadable, want: gap(ByProcess, 0)}}},
		"bytes unavailable, nobody else listed": {looks: []at{{used: 75, processes: procs(p(100, -1), p(101, -1)), want: Use{Mode: ByDevice, Used: 72, Others: 3, Contexts: 2, OK: true}}}},
		"some bytes unavailable":                {looks: []at{{used: 75, processes: procs(p(100, 70), p(101, -1)), want: Use{Mode: ByDevice, Used: 72, Others: 3, Contexts: 2, OK: true}}}},
		"bytes unavailable, a neighbour comes and goes": {looks: []at{
			{used: 75, processes: procs(p(100, -1)), want: Use{Mode: ByDevice, Used: 72, Others: 3, Contexts: 1, OK: true}},
			{used: 79, processes: procs(p(100, -1), p(9, -1)), want: gap(Blind, 1)},
			{used: 75, processes: procs(p(100, -1)), want: Use{Mode: ByDevice, Used: 72, Others: 3, Contexts: 1, OK: true}},
		}},
		"bytes unavailable, others listed, the user's word": {exclusive: true, looks: []at{
			{used: 75, processes: procs(p(100, -1), p(9, -1)), want: Use{Mode: ByDevice, Used: 72, Others: 3, Contexts: 1, OK: true}},
		}},
		"a lost device": {looks: []at{
			{used: 33, processes: procs(p(100, 30)), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
			{trouble: Lost, want: gap(ByProcess, 0)},
		}},
		"an MPS client in both lists": {looks: []at{
			{used: 33, processes: procs(p(100, 30), p(100, -1)), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
		}},
		"an instance": {device: instance, looks: []at{
			{used: 33, processes: procs(in(2, 1, p(100, 20)), in(3, 1, p(100, 7)), in(3, 0, p(9, 7)), in(2, 0, p(9, 10))), want: Use{Mode: ByProcess, Used: 20, Others: 13, Contexts: 1, OK: true}},
			{used: 33, processes: procs(in(2, 1, p(100, -1)), in(3, 0, p(9, 7))), want: Use{Mode: ByDevice, Used: 30, Others: 3, Contexts: 1, OK: true}},
			{used: 33, processes: procs(in(2, 1, p(100, -1)), in(2, 0, p(100, 7))), want: gap(Blind, 1)},
			{used: 33, processes: procs(in(noInstance, noInstance, p(100, 20))), want: Use{Mode: ByProcess, Used: 20, Others: 13, Contexts: 1, OK: true}},
		}},
		"less is used than before it began": {looks: []at{{used: 2, processes: procs(p(100, -1)), want: gap(ByDevice, 1)}}},
		"a GPU that isn't divided": {looks: []at{
			{used: 33, processes: procs(in(5, 1, p(100, 30))), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
			{used: 33, processes: procs(in(noInstance, noInstance, p(100, 30))), want: Use{Mode: ByProcess, Used: 30, Others: 3, Contexts: 1, OK: true}},
		}},
	} {
		s := Set{Device: c.device, Exclusive: c.exclusive}
		for i, l := range c.looks {
			l.want.Used, l.want.Others = l.want.Used*gib, l.want.Others*gib
			got := s.Look(Sample{Trouble: l.trouble, Used: l.used * gib}, Processes{Trouble: l.blocked, Processes: l.processes}, 3*gib,
				func(pid int) bool { return 100 <= pid && pid < 200 })
			if got.Unused && got.OK {
				t.Errorf("%s, look %d: nothing of it is seen, and yet %+v", what, i, got)
			}
			got.Unused = false
			if got != l.want {
				t.Errorf("%s, look %d: %+v, want %+v", what, i, got, l.want)
			}
		}
	}
}

// TestALittleMoreMemoryIsNoWorker: 256 MiB and less above the baseline may be anything.
func TestALittleMoreMemoryIsNoWorker(t *testing.T) {
	for more, want := range map[Bytes]bool{256 * MiB: false, 256*MiB + 1: true} {
		s := Set{Exclusive: true}
		if u := s.Look(Sample{Used: gib + more}, Processes{}, gib, func(int) bool { return false }); u.OK != want || u.Unused == want {
			t.Errorf("%d MiB more: %+v", more/MiB, u)
		}
	}
}

func TestModesHaveNames(t *testing.T) {
	for m, want := range map[Mode]string{Blind: "blind", ByProcess: "process", ByDevice: "device"} {
		if m.String() != want {
			t.Errorf("%d: %s, want %s", m, m, want)
		}
	}
}
