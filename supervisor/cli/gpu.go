package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/supervisor/admin"
)

// What status shows of GPUs.

const (
	mib = 1 << 20
	gib = 1 << 30
)

// gpuWords are the lines about one device.
func gpuWords(g *admin.GPU, sidecar string) []string {
	var lines []string
	add := func(words string) {
		if words != "" {
			lines = append(lines, words)
		}
	}
	if g.Trouble != "" {
		add(troubleWords(g, sidecar))
	} else {
		add(memoryWords(g))
		add(deviceWords(g))
	}
	if g.Halted != "" {
		add("no life is started on it: " + g.Halted)
	}
	add(conditionWords(g))
	for _, note := range g.Notes {
		add(note)
	}
	return lines
}

// memoryWords say what is used, by whom, and where that leads to.
func memoryWords(g *admin.GPU) string {
	if !g.Sampled() {
		return "not looked at yet"
	}
	words := fmt.Sprintf("%s of %s used", bareGiB(g.UsedBytes), inGiB(g.TotalBytes))
	switch {
	case g.WorkerBytes >= 0:
		words += fmt.Sprintf(", %s by the worker", bareGiB(g.WorkerBytes))
	case g.Mode == "blind":
		words += ", how much by the worker can't be told"
	}
	switch g.Stage {
	case "warming":
		return words + "; warming up, nothing is foreseen yet"
	case "settling":
		return words + "; settling, nothing is foreseen yet"
	case "watching", "tight":
		words += fmt.Sprintf("; plateau %s, limit %s", bareGiB(g.PlateauBytes), inGiB(g.LimitBytes))
	default:
		return words
	}
	if g.Stage == "tight" {
		words += ", too tight to foresee anything"
	}
	if trend := trendWords(g); trend != "" {
		words += "; " + trend
	}
	switch {
	case g.Hard:
		words += "; FULL in all but name"
	case g.Soft:
		words += "; most of what it may grow by is used"
	}
	return words
}

// trendWords say how fast it grows, and when it is full if that goes on.
func trendWords(g *admin.GPU) string {
	switch {
	case g.FullInSeconds > 0 && g.BoundBytesPerMinute != nil:
		words := fmt.Sprintf("%s: full in %s", rate(*g.BoundBytesPerMinute), gpu.Far(time.Duration(g.FullInSeconds)*time.Second))
		if !g.Foreseen {
			words += " if that goes on"
		}
		return words
	case g.SlopeBytesPerMinute == nil:
		return ""
	case max(*g.SlopeBytesPerMinute, -*g.SlopeBytesPerMinute) < 0.05*mib:
		return "steady"
	}
	return rate(*g.SlopeBytesPerMinute)
}

// deviceWords are what the device does beside holding memory.
func deviceWords(g *admin.GPU) string {
	var words []string
	if g.Name != "" {
		words = append(words, g.Name)
	}
	if g.UtilisationPercent != nil {
		words = append(words, fmt.Sprintf("%d %% busy", *g.UtilisationPercent))
	}
	if g.TemperatureCelsius != nil {
		words = append(words, fmt.Sprintf("%d C", *g.TemperatureCelsius))
	}
	if g.Contexts > 0 {
		contexts := count(int64(g.Contexts), "context")
		if g.ContextsExpected > 0 && g.Contexts > g.ContextsExpected {
			contexts += fmt.Sprintf(" (%d expected)", g.ContextsExpected)
		}
		words = append(words, contexts)
	}
	if slow := slowedBy(g); slow != "" {
		words = append(words, "slowed by "+slow)
	}
	return strings.Join(words, ", ")
}

// slowedBy are the reasons why its clocks are lower than it could bear. That it has nothing to do is none, nor what somebody set.
func slowedBy(g *admin.GPU) string {
	var reasons []string
	for _, reason := range g.ClockReasons {
		switch reason {
		case "idle", "app_clocks", "other":
		default:
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, ", ")
}

// conditionWords are what is wrong with the device itself, as far as its halt and its notes don't have it in words.
func conditionWords(g *admin.GPU) string {
	var words []string
	for _, code := range slices.SortedFunc(maps.Keys(g.Xids), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) {
		switch n := g.Xids[code]; {
		case n == 1:
			words = append(words, "Xid "+code)
		case n > 1:
			words = append(words, fmt.Sprintf("Xid %s (%s times)", code, number(n)))
		}
	}
	if g.UncorrectedECC != nil && *g.UncorrectedECC > 0 {
		words = append(words, count(int64(*g.UncorrectedECC), "uncorrected ECC error"))
	}
	if g.RowsFailed != nil && *g.RowsFailed {
		words = append(words, "a bad row of its memory could not be replaced")
	}
	if g.Recovery != "" && g.Recovery != admin.RecoveryNone {
		words = append(words, "the driver asks for "+strings.ReplaceAll(g.Recovery, "_", " "))
	}
	if len(words) == 0 {
		return ""
	}
	return "so far: " + strings.Join(words, ", ")
}

// troubleWords say why nothing is read of it, and what to do.
func troubleWords(g *admin.GPU, sidecar string) string {
	what, remedy := "reading it fails", "it is tried again; nvidia-smi may say more"
	switch g.Trouble {
	case admin.TroubleLost:
		what, remedy = "LOST: it doesn't answer any more", "reboot the machine"
	case admin.TroubleReset:
		what, remedy = "the driver says that it must be reset", fmt.Sprintf("reset it (nvidia-smi --gpu-reset), then %s start %s", program, sidecar)
	case admin.TroubleNotPermitted:
		what, remedy = "we may not read it", "let the sidecar's user read its device, or in a container, give it the whole GPU"
	case admin.TroubleUnsupported:
		what, remedy = "its memory can't be read", "nothing is foreseen of it"
	}
	if g.Detail != "" {
		what += " (" + g.Detail + ")"
	}
	if g.Halted != "" { // which says what to do
		return what
	}
	return what + "; " + remedy
}

// readerWords are one line about what reads the GPUs: all that is known of the driver, or why nothing is, and what to do.
func readerWords(r *admin.GPUReader, now time.Time) string {
	howLong := ""
	if !r.Since.IsZero() {
		howLong = " for " + span(max(0, now.Sub(r.Since)))
	}
	because := func(words, remedy string) string {
		if r.Text != "" {
			words += " (" + r.Text + ")"
		}
		return words + "; " + remedy
	}
	switch r.State {
	case admin.ReaderAbsent:
		return because("not read: there is no autoglm-sidecar-nvml", "put it beside this program, or write gpu.reader: off")
	case admin.ReaderStarting:
		return "not read yet: the reader starts" + howLong
	case admin.ReaderSilent:
		return because("not read: no answer of the reader"+howLong, "it is ended and started again by itself; if that doesn't help, the driver hangs: see nvidia-smi")
	case admin.ReaderFailed:
		return because("not read"+howLong+": the reader has ended", "it is started again by itself")
	case admin.ReaderRefused:
		return because("not read: the reader is of another version", "install autoglm-sidecar-nvml of the same release as this program")
	}
	switch r.Library {
	case "", admin.LibraryReads:
		return driverWords(r)
	case admin.LibraryAbsent:
		return because("not read: libnvidia-ml.so.1 can't be loaded", "install the driver, or say where it is: gpu.library")
	case admin.LibraryNoDriver:
		return because("not read: no driver is loaded", "load it (modprobe nvidia)")
	case admin.LibraryNotPermitted:
		return because("not read: the system keeps the devices from us", "let the sidecar's user open /dev/nvidia*; a container has to be made anew")
	case admin.LibraryWrongVersion:
		return because("not read: the driver was upgraded while it was loaded", "reboot the machine")
	}
	return because("not read: the driver's library fails", "it is tried again; nvidia-smi may say more")
}

func driverWords(r *admin.GPUReader) string {
	var words []string
	if r.Driver != "" {
		words = append(words, "driver "+r.Driver)
	}
	if r.CUDA != "" {
		words = append(words, "CUDA "+r.CUDA)
	}
	if r.Starts > 1 {
		words = append(words, fmt.Sprintf("reader started %s times", number(int64(r.Starts))))
	}
	if len(r.Lacks) > 0 {
		words = append(words, "this driver lacks "+strings.Join(r.Lacks, " "))
	}
	return cmp.Or(strings.Join(words, ", "), "read")
}

// plannedWords are the lines about when the life is replaced without anything being wrong.
func plannedWords(s *admin.Status, now time.Time) []string {
	p := s.Planned
	var words []string
	if p.MaxAgeSeconds > 0 {
		words = append(words, "this life is replaced when it is "+gpu.Far(time.Duration(p.MaxAgeSeconds)*time.Second)+" old")
	}
	switch {
	case p.WindowOpen && !p.NextWindow.IsZero():
		words = append(words, "the window is open")
	case !p.NextWindow.IsZero():
		words = append(words, fmt.Sprintf("the next window opens in %s (%s)", gpu.Far(p.NextWindow.Sub(now)), clock(p.NextWindow, now)))
	}
	var lines []string
	if len(words) > 0 {
		lines = append(lines, strings.Join(words, "; "))
	}
	for _, uuid := range p.Latched {
		name := uuid
		if i := slices.IndexFunc(s.GPUs, func(g admin.GPU) bool { return g.UUID == uuid }); i >= 0 {
			name = fmt.Sprintf("gpu %d", s.GPUs[i].Index)
		}
		lines = append(lines, fmt.Sprintf("no restart for the memory of %s: the last gave nothing back, see who has it (nvidia-smi)", name))
	}
	return lines
}

// bareGiB and inGiB write so much memory.
func bareGiB(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/gib) }

func inGiB(bytes int64) string { return bareGiB(bytes) + " GiB" }

// rate is a growth with its sign, as in "+31 MiB/min".
func rate(bytesPerMinute float64) string {
	words := gpu.Rate(bytesPerMinute)
	if !strings.HasPrefix(words, "-") {
		words = "+" + words
	}
	return words
}
