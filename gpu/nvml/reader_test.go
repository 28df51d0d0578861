//go:build cgo && linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/nvml/double"
)

// often is an interval for tests that wait for a look.
const often = 100 * time.Millisecond

// h is a device of 80 GiB with one process on it.
func h(uuid string) double.GPU {
	return double.GPU{
		Memory: double.Memory{
			UUID: uuid, Total: 80 << 30, Reserved: 512 * gpu.MiB,
			Processes: []double.Process{{PID: 100, Bytes: 60 << 30}},
		},
		Bus: "00000000:65:00.0", Utilisation: 7, Temperature: 41,
	}
}

// with is a state of such devices, the first of them changed.
func with(change func(g *double.GPU), more ...double.GPU) double.State {
	first := h("GPU-a")
	change(&first)
	return double.State{GPUs: append([]double.GPU{first}, more...)}
}

func as(*double.GPU) {}

func watch(uuids ...string) gpu.Order {
	return gpu.Order{Watch: uuids, MemoryEvery: often, ProcessesEvery: often, ConditionEvery: often}
}

func TestItSaysWhatThereIs(t *testing.T) {
	t.Parallel()
	p := world{state: with(as, h("GPU-b"))}.start(t)
	hello := p.await("a hello", func(gpu.Line) bool { return true }).Hello
	if hello == nil || hello.Protocol != gpu.Protocol || hello.Version != "tested" {
		t.Errorf("the first line is %+v, not a hello of protocol %d and version tested", hello, gpu.Protocol)
	}
	want := gpu.System{
		Library: gpu.Reads, Driver: "550.54.15-double", CUDA: 12040, NVML: "12.550.54.15-double",
		Devices: []gpu.Device{
			{UUID: "GPU-a", Index: 0, Name: "Simulated GPU (double)", Bus: "00000000:65:00.0", Total: 80 << 30},
			{UUID: "GPU-b", Index: 1, Name: "Simulated GPU (double)", Bus: "00000000:65:00.0", Total: 80 << 30},
		},
	}
	if got := *p.system(); !reflect.DeepEqual(got, want) {
		t.Errorf("it says %+v, want %+v", got, want)
	}
	_ = p.in.Close()
	if status := p.exit(patience); status != exitWell || p.stderr.Len() > 0 {
		t.Errorf("at the end of its input it exits %d and says %q", status, p.stderr.String())
	}
}

func TestALeakIsSeen(t *testing.T) {
	t.Parallel()
	p := world{state: with(as)}.start(t)
	p.order(watch("GPU-a"))
	degrees, per := 41, 7
	want := gpu.Sample{
		Device: "GPU-a", Total: 80 << 30, Used: 60 << 30, Free: 20<<30 - 512*gpu.MiB, Reserved: 512 * gpu.MiB,
		Utilisation: &per, Temperature: &degrees,
	}
	if got := p.sample("a sample", func(*gpu.Sample) bool { return true }); !reflect.DeepEqual(*got, want) {
		t.Errorf("the sample is %+v, want %+v", got, want)
	}
	for _, more := range []gpu.Bytes{61 << 30, 62 << 30} {
		p.write(with(func(g *double.GPU) { g.Processes[0].Bytes = more }))
		p.sample(fmt.Sprintf("a sample with %d used", more), func(s *gpu.Sample) bool { return s.Used == more })
		p.processes(fmt.Sprintf("a process of %d", more), func(l *gpu.Processes) bool { return l.Processes[0].Bytes == more })
	}
}

// The driver gives memory back some time after a process is gone.
func TestAProcessVanishesBeforeItsMemory(t *testing.T) {
	t.Parallel()
	p := world{state: with(as)}.start(t)
	p.order(watch("GPU-a"))
	p.processes("process 100", func(l *gpu.Processes) bool { return len(l.Processes) == 1 && l.Processes[0].PID == 100 })
	p.write(with(func(g *double.GPU) { g.Processes, g.Unowned = nil, 60<<30 }))
	p.processes("no process", func(l *gpu.Processes) bool { return len(l.Processes) == 0 && l.Trouble == gpu.NoTrouble })
	p.sample("its memory", func(s *gpu.Sample) bool { return s.Used == 60<<30 })
	p.write(with(func(g *double.GPU) { g.Processes = nil }))
	p.sample("free memory", func(s *gpu.Sample) bool { return s.Used == 0 && s.Trouble == gpu.NoTrouble })
}

func TestAnOldDriverHasLess(t *testing.T) {
	t.Parallel()
	p := world{library: must(t, oldDouble), state: with(as)}.start(t)
	lacks := []string{
		"nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetCurrentClocksEventReasons",
		"nvmlDeviceGetRemappedRows",
	}
	if got := p.system().Lacks; !slices.Equal(got, lacks) {
		t.Errorf("it lacks %v, want %v", got, lacks)
	}
	p.order(watch("GPU-a"))
	// Its only call counts what is reserved as used.
	s := p.sample("a sample", func(s *gpu.Sample) bool { return true })
	if s.Used != 60<<30+512*gpu.MiB || s.Reserved != 0 {
		t.Errorf("used %d, reserved %d; want them in one", s.Used, s.Reserved)
	}
	p.processes("process 100", func(l *gpu.Processes) bool { return len(l.Processes) == 1 })
	c := p.await("a condition", func(l gpu.Line) bool { return l.Condition != nil }).Condition
	if c.Recovery != nil || c.RowsFailed != nil || c.ClockReasons == nil || c.Uncorrected == nil {
		t.Errorf("the condition is %+v; want no recovery and no rows, and the rest", c)
	}
	p.await("two looks, after which we are registered", looks(2))
	p.write(with(func(g *double.GPU) { g.Xids = []double.Xid{{Number: 1, Code: 31}} }))
	p.await("an event", func(l gpu.Line) bool { return l.Event != nil && l.Event.Xid == 31 })
	p.sample("another", func(*gpu.Sample) bool { return true })
}

func TestTheConditionOfADevice(t *testing.T) {
	t.Parallel()
	p := world{state: with(func(g *double.GPU) {
		g.Clocks, g.Uncorrected, g.Recovery = 0x20, 3, gpu.RecoverDrainReset
		g.Rows = double.Rows{Corrected: 2, Bad: 1, Pending: true}
	})}.start(t)
	p.order(watch("GPU-a"))
	c := p.await("a condition", func(l gpu.Line) bool { return l.Condition != nil }).Condition
	recovery, clocks, errs, corrected, bad, pending, failed := gpu.RecoverDrainReset, uint64(0x20), uint64(3), 2, 1, true, false
	want := gpu.Condition{
		Device: "GPU-a", Recovery: &recovery, ClockReasons: &clocks, Uncorrected: &errs,
		RowsCorrected: &corrected, RowsBad: &bad, RowsPending: &pending, RowsFailed: &failed,
	}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("the condition is %+v, want %+v", c, want)
	}
}

func TestALostDeviceDoesNotHideTheOther(t *testing.T) {
	t.Parallel()
	p := world{state: with(as, h("GPU-b")), flags: []string{"--give-up", "1s"}}.start(t)
	p.order(watch("GPU-a", "GPU-b"))
	p.sample("a sample", func(s *gpu.Sample) bool { return s.Device == "GPU-a" && s.Trouble == gpu.NoTrouble })
	lost := func(g *double.GPU) { g.Error = int(nvml.ERROR_GPU_IS_LOST) }
	began := time.Now()
	p.write(with(lost, h("GPU-b")))
	p.sample("that it is lost", func(s *gpu.Sample) bool { return s.Device == "GPU-a" && s.Trouble == gpu.Lost && s.Total == 0 })
	p.sample("the other, after the time for which all may be lost", func(s *gpu.Sample) bool {
		return s.Device == "GPU-b" && s.Trouble == gpu.NoTrouble && time.Since(began) > 1500*time.Millisecond
	})
	// A look around names the lost one still, by its place.
	p.order(gpu.Order{Watch: []string{"GPU-a", "GPU-b", "GPU-nowhere"}})
	devices := p.system().Devices
	if len(devices) != 2 || devices[0].UUID != "GPU-a" || devices[0].Error == "" || devices[1].UUID != "GPU-b" || devices[1].Error != "" {
		t.Errorf("the devices are %+v; want the first with an error, the second without", devices)
	}
	p.sample("that there is no such device", func(s *gpu.Sample) bool {
		return s.Device == "GPU-nowhere" && s.Trouble == gpu.Unreadable && s.Detail == noSuch
	})
	// Now the other fails, too, and for no known reason.
	p.write(with(lost, func() double.GPU { g := h("GPU-b"); g.Error = int(nvml.ERROR_UNKNOWN); return g }()))
	if status := p.exit(patience); status != exitStale || !strings.Contains(p.stderr.String(), "all watched devices") {
		t.Errorf("it exits %d and says %q; want %d", status, p.stderr.String(), exitStale)
	}
}

func TestADriverThatIsLostEndsTheProcess(t *testing.T) {
	t.Parallel()
	p := world{state: with(as)}.start(t)
	p.order(watch("GPU-a"))
	p.sample("a sample", func(*gpu.Sample) bool { return true })
	p.write(with(func(g *double.GPU) { g.Error = int(nvml.ERROR_LIB_RM_VERSION_MISMATCH) }))
	if status := p.exit(patience); status != exitStale || !strings.Contains(p.stderr.String(), "lost the driver") {
		t.Errorf("it exits %d and says %q; want %d", status, p.stderr.String(), exitStale)
	}
}

func TestAHangingDriverIsSilence(t *testing.T) {
	t.Parallel()
	hangs := with(as)
	hangs.Delay = time.Minute
	p := world{state: with(as)}.start(t)
	p.order(watch("GPU-a"))
	p.sample("a sample", func(*gpu.Sample) bool { return true })
	p.write(hangs)
	quiet := time.NewTimer(2 * alive)
	for silent := false; !silent; {
		select {
		case <-p.lines:
			quiet.Reset(2 * alive) // from before
		case <-quiet.C:
			silent = true
		case <-p.exited:
			t.Fatal("it has ended")
		}
	}
	p.order(gpu.Order{Now: 1})
	closed := time.Now()
	_ = p.in.Close()
	status := p.exit(2 * time.Second)
	if took := time.Since(closed); status != exitWell || took > 1500*time.Millisecond {
		t.Errorf("it exits %d, %v after the end of its input; want %d within 1 s", status, took, exitWell)
	}
}

func TestADriverThatHangsAtOnce(t *testing.T) {
	t.Parallel()
	p := world{state: double.State{Delay: time.Minute}}.start(t)
	p.await("a hello", func(l gpu.Line) bool { return l.Hello != nil })
	_ = p.in.Close()
	if status := p.exit(2 * time.Second); status != exitWell {
		t.Errorf("it exits %d", status)
	}
}

func TestAnXidIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	old := double.Xid{Number: 1, Code: 31}
	p := world{state: with(func(g *double.GPU) { g.Xids = []double.Xid{old} })}.start(t)
	p.order(watch("GPU-a"))
	p.await("two looks, after which we are registered", looks(2))
	p.write(with(func(g *double.GPU) { g.Xids = []double.Xid{old, {Number: 2, Code: 79}, {Number: 3, Code: 999}} }))
	p.await("Xid 999", func(l gpu.Line) bool { return l.Event != nil && l.Event.Xid == 999 })
	p.await("more looks", looks(10))
	var xids []uint64
	for _, line := range p.seen {
		if line.Event != nil {
			xids = append(xids, line.Event.Xid)
			if line.Event.Device != "GPU-a" || line.Event.GI != 0 || line.Event.Overflow {
				t.Errorf("the event is %+v", line.Event)
			}
		}
	}
	if !slices.Equal(xids, []uint64{79, 999}) {
		t.Errorf("these came: %v; want 79 and 999, and not 31, which was there before", xids)
	}
}

// looks counts samples.
func looks(n int) func(gpu.Line) bool {
	return func(l gpu.Line) bool {
		if l.Sample != nil {
			n--
		}
		return n < 0
	}
}

// Others have spun here: on a lost device each waiting for an event fails at once.
func TestWaitingThatFailsDoesNotSpin(t *testing.T) {
	t.Parallel()
	fails := with(func(g *double.GPU) { g.Wait = int(nvml.ERROR_GPU_IS_LOST) })
	p := world{state: fails}.start(t)
	p.order(gpu.Order{Watch: []string{"GPU-a"}})
	p.sample("a sample", func(*gpu.Sample) bool { return true })
	if busy := p.busy(2 * time.Second); busy > 0.05 {
		t.Errorf("it takes %.0f %% of a processor", 100*busy)
	}
	p.write(with(as))
	// Each time that it listens again it says that events may be lost. An Xid that comes after the last of these isn't.
	for xid := uint64(1); ; xid++ {
		e := p.await("an event", func(l gpu.Line) bool { return l.Event != nil }).Event
		if e.Device != "GPU-a" || e.Overflow == (e.Xid != 0) {
			t.Fatalf("the event is %+v", e)
		}
		if !e.Overflow {
			break
		}
		p.write(with(func(g *double.GPU) { g.Xids = []double.Xid{{Number: int64(xid), Code: 48}} }))
	}
}

func TestALibraryThatDoesNotRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		init nvml.Return
		want gpu.Library
	}{
		{nvml.ERROR_DRIVER_NOT_LOADED, gpu.NoDriver},
		{nvml.ERROR_LIB_RM_VERSION_MISMATCH, gpu.WrongVersion},
		{nvml.ERROR_OPERATING_SYSTEM, gpu.NotPermitted},
		{nvml.ERROR_NO_PERMISSION, gpu.NotPermitted},
		{nvml.ERROR_UNKNOWN, gpu.LibraryFailed},
	} {
		t.Run(string(c.want)+"_"+fmt.Sprint(int(c.init)), func(t *testing.T) {
			t.Parallel()
			state := with(as)
			state.Init = int(c.init)
			p := world{state: state}.start(t)
			p.order(gpu.Order{Watch: []string{"GPU-a"}, Now: 5})
			s := p.system()
			if s.Library != c.want || !strings.Contains(s.Detail, fmt.Sprint(int(c.init))) || len(s.Devices) > 0 {
				t.Errorf("it says %+v; want %s, and the error's number", s, c.want)
			}
			p.await("that it has nothing to say", func(l gpu.Line) bool { return l.Done == 5 })
			if busy := p.busy(time.Second); busy > 0.05 {
				t.Errorf("it takes %.0f %% of a processor", 100*busy)
			}
			p.await("a sign of life", func(l gpu.Line) bool { return l.Alive })
			// It is tried again. One retry is 5 s after the first.
			p.write(with(as))
			if s := p.system(); s.Library != gpu.Reads || len(s.Devices) != 1 {
				t.Errorf("when the library reads it says %+v", s)
			}
			p.sample("a sample of what was ordered before", func(s *gpu.Sample) bool { return s.Used > 0 })
		})
	}
}

func TestADriverThatIsNewerThanTheLibrary(t *testing.T) {
	t.Parallel()
	p := world{state: double.State{Init: int(nvml.ERROR_DRIVER_NOT_LOADED)}}.start(t)
	p.system()
	p.write(double.State{Init: int(nvml.ERROR_LIB_RM_VERSION_MISMATCH)})
	if status := p.exit(patience); status != exitStale || !strings.Contains(p.stderr.String(), "different versions") {
		t.Errorf("it exits %d and says %q; want %d", status, p.stderr.String(), exitStale)
	}
}

func TestNoLibrary(t *testing.T) {
	t.Parallel()
	notOne := filepath.Join(t.TempDir(), "library")
	if err := os.WriteFile(notOne, []byte("no ELF"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, why string
		want      gpu.Library
	}{
		{"/nowhere/libnvidia-ml.so.1", "No such file", gpu.NoLibrary},
		{notOne, "file too short", gpu.NoLibrary},
		{"libm.so.6", "lacks nvmlInit_v2", gpu.LibraryFailed},
	} {
		p := world{library: c.file}.start(t)
		if s := p.system(); s.Library != c.want || !strings.Contains(s.Detail, c.why) {
			t.Errorf("with %s it says %+v; want %s because %q", c.file, s, c.want, c.why)
		}
		p.await("a sign of life", func(l gpu.Line) bool { return l.Alive })
	}
}

func TestInstancesOfADividedGPU(t *testing.T) {
	t.Parallel()
	instance := func(uuid string, gi uint32, used gpu.Bytes) double.Instance {
		return double.Instance{GI: gi, CI: 1, Memory: double.Memory{
			UUID: uuid, Total: 10 << 30, Processes: []double.Process{{PID: int(gi), Bytes: used}},
		}}
	}
	one, two := instance("MIG-one", 1, 1<<30), instance("MIG-two", 2, 2<<30)
	divided := func(xids ...double.Xid) double.State {
		return with(func(g *double.GPU) {
			g.Processes, g.Denied, g.Instances, g.Xids = nil, true, []double.Instance{one, two}, xids
		})
	}
	p := world{state: divided()}.start(t)
	want := []gpu.Device{
		{UUID: "GPU-a", Name: "Simulated GPU (double)", Bus: "00000000:65:00.0", MIG: true, Total: 80 << 30},
		{UUID: "MIG-one", Index: 0, Name: "Simulated GPU (double)", Bus: "00000000:65:00.0", Parent: "GPU-a", GI: 1, CI: 1, Total: 10 << 30},
		{UUID: "MIG-two", Index: 1, Name: "Simulated GPU (double)", Bus: "00000000:65:00.0", Parent: "GPU-a", GI: 2, CI: 1, Total: 10 << 30},
	}
	if got := p.system().Devices; !reflect.DeepEqual(got, want) {
		t.Errorf("the devices are %+v, want %+v", got, want)
	}
	p.order(watch("MIG-two", "GPU-a"))
	s := p.sample("a sample of the instance", func(s *gpu.Sample) bool { return s.Device == "MIG-two" })
	if s.Used != 2<<30 || s.Total != 10<<30 || s.Utilisation != nil || s.Temperature == nil || *s.Temperature != 41 {
		t.Errorf("the sample is %+v; want 2 of 10 GiB, no utilisation, and the GPU's 41 degrees", s)
	}
	l := p.processes("the instance's processes", func(l *gpu.Processes) bool { return l.Device == "MIG-two" })
	if !slices.Equal(l.Processes, []gpu.Process{{PID: 2, Bytes: 2 << 30, GI: 2, CI: 1}}) {
		t.Errorf("its processes are %+v", l)
	}
	l = p.processes("the GPU's", func(l *gpu.Processes) bool { return l.Device == "GPU-a" })
	if l.Trouble != gpu.Unpermitted || l.Processes != nil {
		t.Errorf("the GPU's processes are %+v; they are denied", l)
	}
	// An event of the other instance is the GPU's only, one of no instance is everybody's.
	p.write(divided(double.Xid{Number: 1, Code: 13, In: &one}, double.Xid{Number: 2, Code: 31, In: &two}, double.Xid{Number: 3, Code: 79}))
	var got []string
	for range 5 {
		e := p.await("an event", func(l gpu.Line) bool { return l.Event != nil }).Event
		got = append(got, fmt.Sprintf("%s %d %d/%d", e.Device, e.Xid, e.GI, e.CI))
	}
	events := []string{"GPU-a 13 1/1", "MIG-two 31 2/1", "GPU-a 31 2/1", "MIG-two 79 0/0", "GPU-a 79 0/0"}
	if !slices.Equal(got, events) {
		t.Errorf("the events are %q, want %q", got, events)
	}
}

func TestMemoryThatTheDriverDoesNotKnow(t *testing.T) {
	t.Parallel()
	p := world{state: with(func(g *double.GPU) {
		g.Processes = []double.Process{{PID: 7, Bytes: -1}, {PID: 5, Bytes: 10}, {PID: 5, Bytes: 20, MPS: true}, {PID: 9, Bytes: 1, MPS: true}}
	})}.start(t)
	p.order(watch("GPU-a"))
	got := p.processes("processes", func(*gpu.Processes) bool { return true }).Processes
	// Of one that is in both lists the sum.
	want := []gpu.Process{{PID: 5, Bytes: 30}, {PID: 7, Bytes: -1}, {PID: 9, Bytes: 1}}
	if !slices.Equal(got, want) {
		t.Errorf("they are %+v, want %+v", got, want)
	}
}

func TestNow(t *testing.T) {
	t.Parallel()
	p := world{state: with(as, h("GPU-b"))}.start(t)
	p.system()
	p.order(gpu.Order{Watch: []string{"GPU-a", "GPU-b"}, MemoryEvery: time.Hour, ProcessesEvery: time.Hour, ConditionEvery: time.Hour, Now: 1})
	p.await("that it is done", func(l gpu.Line) bool { return l.Done == 1 })
	p.await("the first conditions", func(l gpu.Line) bool { return l.Condition != nil && l.Condition.Device == "GPU-b" })
	p.write(with(func(g *double.GPU) { g.Processes[0].Bytes = 1 }, h("GPU-b")))
	p.order(gpu.Order{Now: 2})
	from := len(p.seen)
	p.await("that it is done again", func(l gpu.Line) bool { return l.Done == 2 })
	var got []string
	for _, l := range p.seen[from:] {
		switch {
		case l.Sample != nil:
			got = append(got, fmt.Sprint("sample ", l.Sample.Device, " ", int64(l.Sample.Used)))
		case l.Processes != nil:
			got = append(got, fmt.Sprint("processes ", l.Processes.Device, " ", int64(l.Processes.Processes[0].Bytes)))
		}
	}
	want := []string{"sample GPU-a 1", "processes GPU-a 1", "sample GPU-b 64424509440", "processes GPU-b 64424509440"}
	if !slices.Equal(got, want) {
		t.Errorf("before it was done there came %q, want %q", got, want)
	}
}

func TestNothingWatched(t *testing.T) {
	t.Parallel()
	p := world{state: with(as)}.start(t)
	p.system()
	from := len(p.seen)
	for range 2 {
		p.await("a sign of life", func(l gpu.Line) bool { return l.Alive })
	}
	if got := len(p.seen) - from; got != 2 {
		t.Errorf("%d lines came; want signs of life only: %s", got, p.said())
	}
	// Then something, and nothing again.
	p.order(watch("GPU-a"))
	p.sample("a sample", func(*gpu.Sample) bool { return true })
	if _, err := p.in.Write([]byte(`{"watch":[]}` + "\n")); err != nil {
		t.Fatal(err)
	}
	p.await("a sign of life", func(l gpu.Line) bool { return l.Alive })
}

func TestATornStateOfTheDoubleIsNotBelieved(t *testing.T) {
	t.Parallel()
	p := world{state: with(as)}.start(t)
	p.order(watch("GPU-a"))
	p.sample("a sample", func(*gpu.Sample) bool { return true })
	if err := os.WriteFile(p.file, []byte("gpu GPU-a\ntotal 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.await("more looks", looks(5))
	for _, l := range p.seen {
		if l.Sample != nil && l.Sample.Total != 80<<30 {
			t.Fatalf("a sample is %+v", l.Sample)
		}
	}
}

func TestWhatIsNoOrder(t *testing.T) {
	t.Parallel()
	for _, said := range []string{"GET / HTTP/1.1\n", `{"watch":"GPU-a"}` + "\n", "{} {}\n", `{"memory_every_ns":-1}` + "\n"} {
		p := world{state: with(as)}.start(t)
		if _, err := p.in.Write([]byte(said)); err != nil {
			t.Fatal(err)
		}
		if status := p.exit(patience); status != exitProtocol || !strings.Contains(p.stderr.String(), "autoglm-sidecar-nvml: read a") {
			t.Errorf("after %q it exits %d and says %q", said, status, p.stderr.String())
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(must(t, theProgram), "--version").Output()
	if err != nil || string(out) != "tested\n" {
		t.Errorf("it says %q, %v", out, err)
	}
}

// A loader that wants all functions at the start finds none of NVML's.
func TestFunctionsAreFoundWhenTheyAreCalled(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("readelf", "-d", must(t, theProgram)).Output()
	if err != nil {
		t.Skipf("readelf is needed: %v", err)
	}
	if strings.Contains(string(out), "BIND_NOW") || strings.Contains(string(out), "NOW") {
		t.Errorf("the program is bound at its start:\n%s", out)
	}
	// The trap that the sidecar has to keep away from: it takes this out of the environment.
	p := world{state: with(as), env: []string{"LD_BIND_NOW=1"}}.start(t)
	if status := p.exit(patience); status != 127 || len(p.seen) > 0 {
		t.Errorf("with LD_BIND_NOW it exits %d after %d lines; it was thought to be killed by the loader with 127", status, len(p.seen))
	}
}

// Only library.go asks whether the library has what is called.
func TestNVMLIsCalledInOneFile(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if file == "library.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []string{".handle.", ".api.", "set.", "nvml.New", ".Event.Device."} {
			if strings.Contains(string(text), call) {
				t.Errorf("%s has %q; calls of NVML belong to library.go", file, call)
			}
		}
	}
}
