// Command bench measures what the sidecar costs beside other proxies: HAProxy, nginx and Go's httputil.ReverseProxy, in
// turns, under the same loads, on this machine's loopback. It prints each peer's configuration, the figures, and the
// ratios of each pair of neighbouring runs with their spread, and says which budgets are met. It judges no build: the
// machine's mood is in every figure, which is why only ratios within a round count.
//
// It is worker and clients itself (each a process of its own) and imports nothing of ours, so that it measures the
// program as it is shipped. The worker stamps each token with the time at which it was written.
//
//	go run ./supervisor/check/bench -program bin/autoglm-sidecar
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == roleWorker {
		exit(serveWorker(os.Args[2]))
	}
	if len(os.Args) > 3 && os.Args[1] == roleReverseProxy {
		exit(serveReverseProxy(os.Args[2], os.Args[3]))
	}
	var p plan
	flag.StringVar(&p.program, "program", "bin/autoglm-sidecar", "the built sidecar")
	flag.IntVar(&p.rounds, "rounds", 5, "rounds; in each, every front has its turn under every load")
	flag.DurationVar(&p.window, "window", 20*time.Second, "how long each run is measured")
	only := flag.String("loads", "", "only the loads whose names begin with one of these words, with commas between")
	fronts := flag.String("fronts", "", "likewise the fronts; the sidecar is always among them")
	flag.StringVar(&p.profile, "profile", "", "directory for `perf record` of the sidecar under each load; needs perf")
	flag.Parse()
	p.loads, p.fronts = chosen(loads, *only), chosen(allFronts, *fronts)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	exit(p.run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// named is what the flags choose among.
type named interface{ called() string }

// chosen returns those whose names begin with one of the words, all of them where there is no word.
func chosen[T named](all []T, words string) (some []T) {
	for _, one := range all {
		for word := range strings.SplitSeq(words, ",") {
			if strings.HasPrefix(one.called(), word) || one.called() == sidecarName && words != "" {
				some = append(some, one)
				break
			}
		}
	}
	return some
}

// load is one kind of traffic.
type load struct {
	name     string
	clients  int
	rate     int // tokens a second of each stream; 0: as fast as they go
	tokens   int // of each answer; 0: a plain answer, not a stream
	perUnit  string
	budgetTo map[string]float64 // of a peer's CPU a unit, by the peer's name
}

func (l load) called() string { return l.name }

// loads are those of the design's budgets.
var loads = []load{
	{name: "sse 256 x 50/s", clients: 256, rate: 50, tokens: 400, perUnit: "token", budgetTo: map[string]float64{haproxyName: 0.90, nginxName: 1}},
	{name: "sse 1000 x 20/s", clients: 1000, rate: 20, tokens: 200, perUnit: "token", budgetTo: map[string]float64{haproxyName: 0.90, nginxName: 1}},
	{name: "unthrottled 64", clients: 64, tokens: 20000, perUnit: "token"},
	{name: "unary 64", clients: 64, perUnit: "request", budgetTo: map[string]float64{haproxyName: 1}},
}

// plan is what is to be measured.
type plan struct {
	program string
	rounds  int
	window  time.Duration
	loads   []load
	fronts  []front
	profile string
}

// run measures everything and reports.
func (p plan) run(ctx context.Context) error {
	if len(p.loads) == 0 || len(p.fronts) == 0 || p.rounds < 1 {
		return errors.New("nothing to measure: see -help")
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	b := bench{plan: p, dir: dir}
	b.introduce(os.Stdout)
	for _, l := range p.loads {
		if err := b.measure(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		b.report(os.Stdout, l)
	}
	return b.rest(ctx, os.Stdout)
}
