package daemon

import (
	"fmt"
	"strconv"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/watch"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/ledger"
)

// The worker's GPUs as people see them.

// showDevices adds them to a status.
func (b backend) showDevices(s *admin.Status, life supervisor.Status) {
	view := b.devices.view()
	s.Barred = life.Barred
	s.GPUReader = readerOf(view)
	for _, l := range view.Looks {
		s.GPUs = append(s.GPUs, deviceOf(l, view.Now))
	}
	s.Planned = b.planner.planned(life, view)
}

func readerOf(view deviceView) *admin.GPUReader {
	if !view.Read {
		return nil
	}
	source := view.Source
	r := &admin.GPUReader{
		State: string(source.Kind), Since: source.Since, Text: source.Text, Version: source.Version, Starts: source.Starts, PID: source.PID,
		Library: string(view.System.Library), Driver: view.System.Driver, Lacks: view.System.Lacks,
	}
	if n := view.System.CUDA; n > 0 {
		r.CUDA = fmt.Sprintf("%d.%d", n/1000, n%1000/10)
	}
	if source.Kind == gpu.SourceReads && view.Known && view.System.Library != gpu.Reads {
		r.Text = view.System.Detail
	}
	if view.Refused != nil {
		r.Error = view.Refused.Error()
	}
	return r
}

func deviceOf(l watch.Look, now time.Duration) admin.GPU {
	g := admin.GPU{
		Index: l.Index, UUID: l.UUID, Name: l.Name, Parent: l.Parent, Trouble: string(l.Sample.Trouble), Detail: l.Sample.Detail,
		TotalBytes: int64(l.Total), UsedBytes: int64(l.Sample.Used), FreeBytes: int64(l.Sample.Free), ReservedBytes: int64(l.Sample.Reserved),
		WorkerBytes: -1, OthersBytes: -1, BaselineBytes: int64(l.Baseline), NeedBytes: int64(l.Need),
		Contexts: l.Use.Contexts, UtilisationPercent: l.Sample.Utilisation, TemperatureCelsius: l.Sample.Temperature,
		ClockReasons: admin.ClockReasonsOf(l.Condition.ClockReasons), UncorrectedECC: l.Condition.Uncorrected,
		RowsPending: l.Condition.RowsPending, RowsFailed: l.Condition.RowsFailed, Recovery: admin.RecoveryOf((*int)(l.Condition.Recovery)),
	}
	if l.Sample.Total > 0 {
		g.TotalBytes = int64(l.Sample.Total)
	}
	if l.Looked {
		g.Mode = l.Use.Mode.String()
	}
	if l.Use.OK {
		g.WorkerBytes, g.OthersBytes = int64(l.Use.Used), int64(l.Use.Others)
	}
	if l.Judged {
		showOutlook(&g, l.Outlook)
		g.Hard = l.Hard
	}
	g.ContextsExpected, _, _, _ = l.Contexts.Rising()
	for xid, n := range l.Xids {
		if g.Xids == nil {
			g.Xids = map[string]int64{}
		}
		g.Xids[strconv.FormatUint(xid, 10)] = int64(n)
	}
	if l.Halted {
		g.Halted = l.Halt.Text
	}
	if l.Explain {
		g.Notes = append(g.Notes, l.Explains.Text)
	}
	for _, note := range l.Notes {
		g.Notes = append(g.Notes, note.Text)
	}
	for _, m := range l.Curve {
		g.Curve = append(g.Curve, admin.CurvePoint{
			MinutesAgo: int(int64(now/time.Minute) - m.Minute), FloorBytes: int64(m.Bytes), HighestBytes: int64(m.Highest),
		})
	}
	return g
}

func showOutlook(g *admin.GPU, o gpu.Outlook) {
	g.Stage = o.Stage.String()
	g.PlateauBytes, g.LimitBytes, g.AllowanceBytes = int64(o.Plateau), int64(o.Limit), int64(o.Allowance)
	if o.Trend.Floors > 0 {
		g.SlopeBytesPerMinute, g.BoundBytesPerMinute = &o.Trend.Slope, &o.Trend.Lower
	}
	g.FullInSeconds = int64(o.Full / time.Second)
	g.Foreseen, g.Soft = o.Foreseen, o.Soft
}

// planned is what may become of the life that serves; nil: there is nothing that could be planned.
func (p *planner) planned(life supervisor.Status, view deviceView) *admin.Planned {
	age := p.plan.AgeOf(int64(life.Life))
	if p.bar == nil || age == 0 && len(view.Looks) == 0 {
		return nil
	}
	now := time.Now()
	s := &admin.Planned{MaxAgeSeconds: int64(age / time.Second), WindowOpen: p.plan.Times.Open(now)}
	if len(p.windows) > 0 {
		s.NextWindow = p.plan.Times.Next(now)
	}
	p.devices.mu.Lock()
	defer p.devices.mu.Unlock()
	for _, l := range p.plan.Latched() {
		s.Latched = append(s.Latched, l.Device)
	}
	return s
}

// curves are what a life that was given up used in its last hour, for the ledger; nil: it isn't known any more.
func (p *planner) curves(life supervisor.Life) (all []ledger.Curve) {
	p.devices.mu.Lock()
	defer p.devices.mu.Unlock()
	if p.last.Life != int64(life) {
		return nil
	}
	for _, c := range p.last.Curves {
		one := ledger.Curve{GPU: c.Device, Index: c.Index}
		for _, m := range c.Minutes {
			one.Minutes = append(one.Minutes, ledger.Point{Minute: m.Minute - c.Now, FloorMiB: int64(m.Bytes / gpu.MiB), HighestMiB: int64(m.Highest / gpu.MiB)})
		}
		all = append(all, one)
	}
	return all
}
