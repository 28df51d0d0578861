package leaksim

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Count is how many of so many runs something happened in.
type Count struct{ Of, Runs int }

func (c Count) String() string { return fmt.Sprintf("%d of %d", c.Of, c.Runs) }

// Detect is a row of the first table: for each shape the runs in which a detector said once that they leak.
func Detect(d Detector, runs int) (alarms []Count) {
	for _, s := range Shapes {
		said := each(runs, func(n int) bool { return d.Alarm(s.Floors(n)) >= 0 })
		alarms = append(alarms, Count{count(said, func(b bool) bool { return b }), runs})
	}
	return alarms
}

// Outcome is what a forecast made of all runs of a shape.
type Outcome struct {
	Shape   string
	False   Count // ends foreseen that didn't come, of the runs that didn't reach their limit
	Missed  Count // ends that came unforeseen, of the runs that did
	Caught  Count // of the missed, those in which the soft limit was passed before
	Lead    int   // median of the minutes from when an end was foreseen to when it came; 0: none was
	Reached int   // runs that reached their limit
}

// Foresee is the second table's part for one forecast: an outcome for each shape.
func Foresee(f Forecast, runs int) (all []Outcome) {
	for _, s := range Shapes {
		results := each(runs, func(n int) Result { return f.Of(s.Floors(n)) })
		reached := count(results, func(r Result) bool { return r.Reached >= 0 })
		missed := count(results, Result.Missed)
		var leads []int
		for _, r := range results {
			if r.Reached >= 0 && r.Foreseen >= 0 {
				leads = append(leads, r.Reached-r.Foreseen)
			}
		}
		slices.Sort(leads)
		o := Outcome{
			Shape: s.Name, Reached: reached, False: Count{count(results, Result.False), runs - reached}, Missed: Count{missed, reached},
			Caught: Count{count(results, func(r Result) bool { return r.Missed() && r.Soft >= 0 }), missed},
		}
		if len(leads) > 0 {
			o.Lead = leads[len(leads)/2]
		}
		all = append(all, o)
	}
	return all
}

func count[T any](all []T, is func(T) bool) (n int) {
	for _, v := range all {
		if is(v) {
			n++
		}
	}
	return n
}

// each does runs 0 to n-1 on all processors.
func each[T any](n int, do func(int) T) []T {
	results := make([]T, n)
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				results[i] = do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	return results
}

// Runs is how many runs of each shape the tables are made of; fewer where a window is long, which is dear.
func (d Detector) Runs() int {
	if d.Window > 120 {
		return 20
	}
	return 60
}

// forecastRuns is the same for the second table.
const forecastRuns = 60

// WriteTables makes both tables and writes them in Markdown. It takes a minute or two.
func WriteTables(w io.Writer) {
	var names []string
	for _, s := range Shapes {
		names = append(names, s.Name)
	}
	fmt.Fprintf(w, "Days on which a detector says once that there is a leak:\n\n| detector | %s |\n|%s\n", strings.Join(names, " | "), strings.Repeat(" --- |", len(names)+1))
	for _, d := range Detectors {
		fmt.Fprintf(w, "| %s |", d.Name)
		for _, c := range Detect(d, d.Runs()) {
			fmt.Fprintf(w, " %s |", c)
		}
		fmt.Fprintln(w)
	}
	for _, f := range Forecasts {
		fmt.Fprintf(w, "\n%s:\n\n| shape | reached its limit | foreseen in vain | unforeseen | of them past the soft limit before | lead, minutes |\n| --- | --- | --- | --- | --- | --- |\n", f.Name)
		for _, o := range Foresee(f, forecastRuns) {
			fmt.Fprintf(w, "| %s | %d | %s | %s | %s | %d |\n", o.Shape, o.Reached, o.False, o.Missed, o.Caught, o.Lead)
		}
	}
}
