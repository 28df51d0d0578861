package rules

import (
	"slices"
	"testing"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/health"
)

const (
	mib = gpu.MiB
	gib = 1024 * gpu.MiB
)

// leaking is a device that may use 10,000 MiB more than the worker began with, of which a share is used.
func leaking(share float64, left time.Duration) GPU {
	const plateau, allowance = 70_000 * mib, 10_000 * mib
	o := gpu.Outlook{Stage: gpu.Watching, Plateau: plateau, Allowance: allowance, Limit: plateau + allowance}
	o.Floor = plateau + gpu.Bytes(share*float64(allowance))
	o.Soft = share > 0.8
	if left > 0 {
		o.Foreseen, o.Full = true, left
		o.Trend.Lower = float64(o.Limit-o.Floor) / left.Minutes()
	}
	return GPU{Device: "GPU-a", Name: "GPU 0", Use: gpu.Use{Mode: gpu.ByProcess, Used: o.Floor, OK: true}, Outlook: o}
}

// crowd is what a device says that had 2 contexts of the worker and has n since minute 60.
func crowd(n int) (c gpu.Contexts) {
	for minute := range 73 {
		stage, count := gpu.Watching, 2
		if minute < 30 {
			stage = gpu.Warming
		}
		if minute >= 60 {
			count = n
		}
		c.Take(time.Duration(minute)*time.Minute, count, stage, true)
	}
	return c
}

func TestWhatIsSaidOfADevice(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*GPUs, *GPU)
		want   map[string]string // all that is bad, by what it is about
	}{
		{"nothing", func(*GPUs, *GPU) {}, nil},
		{"it has no life yet", func(_ *GPUs, d *GPU) { d.Outlook = gpu.Outlook{} }, nil},
		{"full soon", func(_ *GPUs, d *GPU) { d.Outlook = leaking(0.597, 130*time.Minute).Outlook }, map[string]string{"memory_forecast:GPU-a": "full in 2 h 10 min at 31 MiB/min"}},
		{"much is used", func(_ *GPUs, d *GPU) { d.Outlook = leaking(0.85, 0).Outlook }, map[string]string{"memory_forecast:GPU-a": "85 % of what it may grow by is used"}},
		{"both", func(_ *GPUs, d *GPU) { d.Outlook = leaking(0.85, 10*time.Hour).Outlook }, map[string]string{"memory_forecast:GPU-a": "full in 10 h at 2.5 MiB/min, 85 % of what it may grow by is used"}},
		{"full, but nobody wants to know", func(g *GPUs, d *GPU) { *d = leaking(0.99, time.Hour); d.Hard, g.Mode = true, ForecastOff }, nil},
		{"full in all but name, and people are told only", func(g *GPUs, d *GPU) {
			*d = leaking(0.5, 0)
			d.Hard, d.Use.Used, g.Mode = true, 79_900*mib, ForecastWarn
		}, map[string]string{"memory_limit:GPU-a": "78.0 GiB are used, and it may use 78.1 GiB"}},
		{"the same, by its floor", func(_ *GPUs, d *GPU) { *d = leaking(0.5, 0); d.Hard, d.Use = true, gpu.Use{Mode: gpu.ByProcess} }, map[string]string{"memory_limit:GPU-a": "73.2 GiB are used, and it may use 78.1 GiB"}},
		{"tight", func(_ *GPUs, d *GPU) { d.Outlook.Stage, d.Outlook.Allowance = gpu.Tight, 300*mib }, map[string]string{"memory_tight:GPU-a": "300 MiB to grow into, and 512 MiB are needed; lower worker.memory_share (--gpu-memory-utilization of vLLM, --mem-fraction-static of SGLang)"}},
		{"a restart was in vain", func(g *GPUs, _ *GPU) { g.Latched = []Latch{{"GPU-b", 1, 2}, {"GPU-a", 78 * gib, 77 * gib}} }, map[string]string{"memory_latched:GPU-a": "78.0 GiB were used before the restart, 77.0 GiB are after it"}},
		{"more contexts", func(_ *GPUs, d *GPU) { d.Contexts = crowd(4) }, map[string]string{"contexts_rising:GPU-a": "4 contexts for 12 min, 2 expected"}},
		{"no more contexts", func(_ *GPUs, d *GPU) { d.Contexts = crowd(2) }, nil},

		{"lost", func(_ *GPUs, d *GPU) { d.Trouble, d.Detail = gpu.Lost, "GPU is lost" }, map[string]string{"gpu_lost:GPU-a": "it doesn't answer any more (GPU is lost)"}},
		{"to be reset", func(_ *GPUs, d *GPU) { d.Trouble = gpu.ResetRequired }, map[string]string{"gpu_lost:GPU-a": "the driver says that it must be reset"}},
		{"not permitted", func(_ *GPUs, d *GPU) { d.Trouble = gpu.Unpermitted }, map[string]string{"gpu_unread:GPU-a": "we may not read it"}},
		{"not supported", func(_ *GPUs, d *GPU) { d.Trouble = gpu.Unsupported }, map[string]string{"gpu_unread:GPU-a": "its memory can't be read"}},
		{"unreadable", func(_ *GPUs, d *GPU) { d.Trouble, d.Detail = gpu.Unreadable, "999" }, map[string]string{"gpu_unread:GPU-a": "reading it fails (999)"}},
		{"not to be told from others", func(_ *GPUs, d *GPU) { d.Use = gpu.Use{} }, map[string]string{"gpu_unread:GPU-a": "what the worker uses of it can't be told from what others use; if it has it for itself, write gpu.shared: no"}},
		{"its reader is silent", func(_ *GPUs, d *GPU) { d.Unread, d.Use = "its reader is silent", gpu.Use{} }, map[string]string{"gpu_unread:GPU-a": "its reader is silent"}},
		{"nobody reads: told once", func(g *GPUs, d *GPU) { g.Unread, d.Unread = "there is no driver", "its reader is silent" }, map[string]string{"gpu_unread": "there is no driver"}},
		{"too old", func(g *GPUs, _ *GPU) { g.TooOld = "driver 535 is older than 550" }, map[string]string{"gpu_too_old": "driver 535 is older than 550"}},

		{"a fault", func(_ *GPUs, d *GPU) { d.Explains = gpu.Finding{Xid: 31, Text: "Xid 31: a page fault"} }, map[string]string{"gpu_fault:GPU-a": "Xid 31: a page fault"}},
		{"a halt", func(_ *GPUs, d *GPU) { d.Halt = gpu.Finding{Xid: 79, Text: "Xid 79: off the bus"} }, map[string]string{"gpu_halted:GPU-a": "Xid 79: off the bus"}},
		{"notes", func(_ *GPUs, d *GPU) { d.Notes = []gpu.Finding{{Text: "a row waits"}, {Text: "Xid 63"}} }, map[string]string{"gpu_note:GPU-a": "a row waits; Xid 63"}},
	} {
		g, d := GPUs{Mode: ForecastAct}, leaking(0, 0)
		test.change(&g, &d)
		g.Devices = []GPU{d}
		for about, text := range bad(t, g, 7, "GPU-a") {
			if test.want[about] != text {
				t.Errorf("%s: %s is %q, want %q", test.name, about, text, test.want[about])
			}
			delete(test.want, about)
		}
		if len(test.want) > 0 {
			t.Errorf("%s: nothing is said of %v", test.name, test.want)
		}
	}
}

// bad are the texts of the bad signals, by what they are about. There must be one about all that is asked.
func bad(t *testing.T, g GPUs, life int64, devices ...string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	var abouts, asked []string
	for _, s := range g.Signals(life, 72*time.Minute) {
		abouts = append(abouts, s.About)
		if s.Bad != (s.Text != "") || s.Life != life || s.Unfit {
			t.Errorf("%+v", s)
		}
		if _, known := health.WarnableOf(s.Code); !known {
			t.Errorf("no warning is %q", s.Code)
		}
		if s.Bad {
			texts[s.About] = s.Text
		}
	}
	for _, a := range AskedOfGPUs(devices...) {
		asked = append(asked, a.About)
		if kind := a.Kind; a.Rise != 1 || a.Fall != 1 || (kind == health.Fault) != (a.About == "gpu_fault:GPU-a" || a.About == "gpu_fault:GPU-b") || kind != health.Fault && kind != health.Notice {
			t.Errorf("asked %+v", a)
		}
	}
	slices.Sort(abouts)
	slices.Sort(asked)
	if !slices.Equal(abouts, asked) {
		t.Errorf("signals are about %v, asked is about %v", abouts, asked)
	}
	return texts
}

func TestWhereThereAreSeveralDevicesEachIsNamed(t *testing.T) {
	a, b := leaking(0.5, 3*time.Hour), leaking(0.9, 0)
	b.Device, b.Name = "GPU-b", ""
	got := bad(t, GPUs{Devices: []GPU{a, b}}, 7, "GPU-a", "GPU-b")
	if len(got) != 2 || got["memory_forecast:GPU-a"] != "GPU 0: full in 3 h at 28 MiB/min" || got["memory_forecast:GPU-b"] != "GPU-b: 90 % of what it may grow by is used" {
		t.Errorf("got %v", got)
	}
	if got := bad(t, GPUs{Unread: "there is no reader"}, 7); len(got) != 1 || got["gpu_unread"] != "there is no reader" {
		t.Errorf("before any is known: got %v", got)
	}
}

// A forecast goes all the way: to the judge, and with a failed probe after a fault to a restart for that.
func TestTheJudgeTakesThem(t *testing.T) {
	j := health.NewJudge(time.Minute, append(AskedOfGPUs("GPU-a"), health.Asked{About: "tcp", Kind: health.Probe, Rise: 2, Fall: 3})...)
	j.Begin(7, 0, "tcp")
	d := leaking(0.597, 130*time.Minute)
	d.Explains = gpu.Finding{Xid: 31, Text: "Xid 31: a page fault"}
	for _, s := range (GPUs{Devices: []GPU{d}}).Signals(7, 0) {
		j.Hear(s, time.Hour)
	}
	v := j.Verdict(time.Hour)
	if v.Level != health.Degraded || len(v.Warnings) != 2 || v.Warnings[1].Text != "full in 2 h 10 min at 31 MiB/min" {
		t.Errorf("got %+v", v)
	}
	j.Hear(health.Signal{Life: 7, About: "tcp", Code: health.WorkerDown, Bad: true, Text: "connection refused"}, time.Hour)
	if v := j.Verdict(time.Hour); v.Reason() != health.GPUFault || v.Why != "tcp failed once: connection refused; Xid 31: a page fault" {
		t.Errorf("got %v because %q", v.Reason(), v.Why)
	}
}
