package cli

import (
	"fmt"
	"math"
	"strings"

	"autoglm-sidecar/supervisor/admin"

	"github.com/guptarohit/asciigraph"
)

// Curves of a worker's memory: a column for each minute of an hour, the newest at the right. Minutes of which nothing is known are gaps.

const (
	graphMinutes = 60
	graphHeight  = 8
	// near is how far above the curve the limit may be, as a multiple of the curve's own height, to be drawn: else all that the curve does
	// would be one row.
	near = 3
)

// memoryGraphs are the curves of all GPUs up to now.
func memoryGraphs(s *admin.Status) string {
	var b strings.Builder
	for i := range s.GPUs {
		g := &s.GPUs[i]
		what := fmt.Sprintf("GPU %d, MiB by the worker, the last hour", g.Index)
		if graph := memoryGraph(what, g.Curve, g.PlateauBytes, g.LimitBytes); graph != "" {
			b.WriteString("\n" + graph)
		} else {
			fmt.Fprintf(&b, "\n  GPU %d: no minute of the worker's memory is known yet\n", g.Index)
		}
	}
	switch {
	case len(s.GPUs) > 0:
	case s.GPUReader == nil:
		b.WriteString("\n  nothing is read of GPUs: gpu.reader is off, or the worker has none\n")
	default:
		b.WriteString("\n  nothing is known of any GPU of the worker\n")
	}
	return b.String()
}

// memoryGraph draws a curve; plateau and limit are 0 where they are not known. It is empty if there is nothing to draw.
func memoryGraph(what string, curve []admin.CurvePoint, plateau, limit int64) string {
	floors := make([]float64, graphMinutes+1)
	for i := range floors {
		floors[i] = math.NaN()
	}
	lowest, top, peak := math.Inf(1), 0.0, int64(0)
	for _, p := range curve {
		if p.MinutesAgo < 0 || p.MinutesAgo > graphMinutes {
			continue
		}
		floor := float64(p.FloorBytes) / mib
		floors[graphMinutes-p.MinutesAgo] = floor
		lowest, top, peak = min(lowest, floor), max(top, floor), max(peak, p.HighestBytes)
	}
	if math.IsInf(lowest, 1) {
		return ""
	}
	series := [][]float64{floors}
	chars := []asciigraph.CharSet{asciigraph.DefaultCharSet}
	caption := what
	level := func(name, char string, bytes int64, drawn bool) {
		words := name
		if drawn {
			line := make([]float64, graphMinutes+1)
			for i := range line {
				line[i] = float64(bytes) / mib
			}
			// Drawn first, so that the curve is on top.
			series, chars = append([][]float64{line}, series...), append([]asciigraph.CharSet{asciigraph.CreateCharSet(char)}, chars...)
			lowest, top = min(lowest, line[0]), max(top, line[0])
			words = char + " " + name
		}
		caption += fmt.Sprintf("; %s %s", words, number(bytes/mib))
	}
	if plateau > 0 {
		level("plateau", "·", plateau, true)
	}
	if limit > 0 {
		level("limit", "=", limit, float64(limit)/mib-top <= near*(top-lowest))
	}
	if peak > 0 {
		caption += "; peak " + number(peak/mib)
	}
	graph := asciigraph.PlotMany(series,
		asciigraph.SeriesChars(chars...),
		asciigraph.Height(int(max(1, min(graphHeight, top-lowest)))), // a row is at least a MiB
		asciigraph.YAxisValueFormatter(func(v float64) string { return number(int64(math.Round(v))) }),
		asciigraph.XAxisRange(-graphMinutes, 0),
		asciigraph.XAxisValueFormatter(func(v float64) string { return fmt.Sprintf("%.0f min", v) }),
	)
	return indented(graph) + "  " + caption + "\n"
}

// indented puts a graph where the other lines of a screen begin.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}
