package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// introduce says what is measured, where, and with what settings of the peers.
func (b *bench) introduce(w io.Writer) {
	fmt.Fprintf(w, "## What was run\n\n%s, %d processors, kernel %s. %d rounds of %s; fronts take turns in each.\n\n",
		runtime.GOARCH, runtime.NumCPU(), firstLine("uname", "-r"), b.rounds, b.window)
	fmt.Fprintf(w, "- %s\n- %s\n- %s\n\n", firstLine(b.program, "version"), firstLine("haproxy", "-v"), firstLine("nginx", "-v"))
	fmt.Fprintf(w, "HAProxy:\n\n```\n%s```\n\nnginx:\n\n```\n%s```\n\n", haproxyConfig, nginxConfig)
}

// firstLine is what a program says of itself.
func firstLine(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return name + ": " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// report prints a load's table and its ratios.
func (b *bench) report(w io.Writer, l load) {
	runs := b.runs[l.name]
	fmt.Fprintf(w, "## %s\n\n| front | CPU µs a %s | all three µs | %ss a second | transit p50 µs | transit p99 µs | KiB a stream | cut |\n", l.name, l.perUnit, l.perUnit)
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, f := range b.fronts {
		r := runs[f.name]
		cut := int64(0)
		for _, one := range r {
			cut += one.cut
		}
		fmt.Fprintf(w, "| %s | %s | %.1f | %.0f | %s | %s | %s | %d |\n", f.name,
			spread(r, func(f figures) float64 { return f.cpu }),
			median(r, func(f figures) float64 { return f.all }),
			median(r, func(f figures) float64 { return f.rate }),
			orNone(l.tokens > 0, median(r, func(f figures) float64 { return us(f.transit) })),
			orNone(l.tokens > 0, median(r, func(f figures) float64 { return us(f.late) })),
			orNone(l.tokens > 0 && f.command != nil, median(r, func(f figures) float64 { return f.perOpen })), cut)
	}
	fmt.Fprintln(w)
	ours := runs[sidecarName]
	for _, f := range b.fronts {
		theirs := runs[f.name]
		if f.command == nil || f.name == sidecarName || len(theirs) != len(ours) {
			continue
		}
		budget, has := l.budgetTo[f.name]
		b.ratio(w, fmt.Sprintf("CPU a %s / %s", l.perUnit, f.name), ours, theirs, func(f figures) float64 { return f.cpu }, budget, has)
		if f.name == haproxyName && l.rate > 0 {
			b.ratio(w, "transit p50 / "+f.name, ours, theirs, func(f figures) float64 { return us(f.transit) }, 1, true)
		}
	}
	if l.clients == 1000 {
		perOpen := median(ours, func(f figures) float64 { return f.perOpen })
		fmt.Fprintf(w, "- memory a stream: %.1f KiB, budget 8: %s\n", perOpen, verdict(perOpen <= 8))
	}
	fmt.Fprintln(w)
}

// ratio prints the median of the rounds' ratios, the least and the most of them.
func (b *bench) ratio(w io.Writer, what string, ours, theirs []figures, of func(figures) float64, budget float64, has bool) {
	var ratios []float64
	for i := range ours {
		ratios = append(ratios, of(ours[i])/of(theirs[i]))
	}
	slices.Sort(ratios)
	middle := middleOf(ratios)
	line := fmt.Sprintf("- %s: %.2f (%.2f to %.2f, n=%d)", what, middle, ratios[0], ratios[len(ratios)-1], len(ratios))
	if has {
		line += fmt.Sprintf(", budget %.2f: %s", budget, verdict(middle <= budget))
	}
	fmt.Fprintln(w, line)
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}

// rest prints what fronts cost while nobody asks.
func (b *bench) rest(ctx context.Context, w io.Writer) error {
	fmt.Fprintf(w, "## idle\n\n| front | CPU, %% of a processor | memory MiB |\n| --- | --- | --- |\n")
	for _, f := range b.fronts {
		if f.command == nil {
			continue
		}
		cpu, m, err := b.idle(ctx, f)
		if err != nil {
			return fmt.Errorf("idle %s: %w", f.name, err)
		}
		fmt.Fprintf(w, "| %s | %.3f | %.1f |\n", f.name, cpu, float64(m.sum())/(1<<20))
		if f.name == sidecarName {
			defer fmt.Fprintf(w, "\n- idle CPU: %.3f %%, budget 0.2: %s\n- idle memory: %.1f MiB, budget 25 MB: %s\n",
				cpu, verdict(cpu < 0.2), float64(m.sum())/(1<<20), verdict(m.sum() < 25e6))
		}
	}
	return nil
}

func orNone(has bool, v float64) string {
	if !has {
		return ""
	}
	return fmt.Sprintf("%.1f", v)
}

func spread(r []figures, of func(figures) float64) string {
	v := values(r, of)
	return fmt.Sprintf("%.2f (%.2f to %.2f)", middleOf(v), v[0], v[len(v)-1])
}

func median(r []figures, of func(figures) float64) float64 { return middleOf(values(r, of)) }

func values(r []figures, of func(figures) float64) (v []float64) {
	for _, one := range r {
		v = append(v, of(one))
	}
	slices.Sort(v)
	return v
}

// middleOf is the median of sorted values.
func middleOf(v []float64) float64 {
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}
