// Package leaksim is the simulated leaks, and the memory that only looks like one, by which the forecast of package gpu is
// judged. Synthetic numbers rank rules; they are no rates in the field.
//
// A run is one life of 24 hours after its start: a floor a minute. Each shape below is a formula with its parameters, and each
// run is drawn from a seed that its shape and number give, so that everybody has the same ones.
package leaksim

import (
	"math"
	"math/rand/v2"

	"autoglm-sidecar/gpu"
)

const (
	// Day is how many floors a run has.
	Day = 24 * 60
	// base is what a worker uses after its start, as vLLM with 0.9 of 80 GiB does; noise is the standard deviation of what
	// comes and goes, in MiB.
	base, noise = 72_000, 20
	// seed begins all of them.
	seed = 5_4
)

// Shape is a way in which memory goes. MiB gives the use above base at each minute of a run.
type Shape struct {
	Name string
	Leak bool // it grows without end
	MiB  func(r *rand.Rand) []float64
}

// Shapes are all of them.
var Shapes = []Shape{
	{Name: "white", MiB: white},
	{Name: "AR", MiB: autoregressive},
	{Name: "daily", MiB: daily},
	{Name: "stairs", MiB: stairs},
	{Name: "ramp", MiB: ramp},
	{Name: "high-water", MiB: highWater},
	{Name: "leak 1", Leak: true, MiB: leak(1)},
	{Name: "leak 4", Leak: true, MiB: leak(4)},
	{Name: "step leak", Leak: true, MiB: stepLeak},
}

// Floors are those of run number n of a shape.
func (s Shape) Floors(n int) []gpu.Floor {
	r := rand.New(rand.NewPCG(seed, uint64(n)<<8|uint64(s.number())))
	floors := make([]gpu.Floor, Day)
	for i, mib := range s.MiB(r) {
		floors[i] = gpu.Floor{Minute: int64(i), Bytes: gpu.Bytes((base + mib) * float64(gpu.MiB))}
	}
	return floors
}

func (s Shape) number() int {
	for i := range Shapes {
		if Shapes[i].Name == s.Name {
			return i
		}
	}
	return len(Shapes)
}

// of makes a run of a function of the minute.
func of(f func(minute int) float64) []float64 {
	all := make([]float64, Day)
	for i := range all {
		all[i] = f(i)
	}
	return all
}

// white is noise about a plateau: N(0, 20²).
func white(r *rand.Rand) []float64 {
	return of(func(int) float64 { return noise * r.NormFloat64() })
}

// autoregressive is a load that wanders: x = 0.95 x + N(0, 20²), which has a standard deviation of 64 and forgets in 20 minutes.
func autoregressive(r *rand.Rand) []float64 {
	x := noise / math.Sqrt(1-0.95*0.95) * r.NormFloat64()
	return of(func(int) float64 {
		x = 0.95*x + noise*r.NormFloat64()
		return x
	})
}

// daily is a day's load: a sine of ±100 over 24 hours from any phase, and white. It rises by 0.44 a minute at the most.
func daily(r *rand.Rand) []float64 {
	phase := r.Float64()
	return of(func(i int) float64 {
		return 100*math.Sin(2*math.Pi*(float64(i)/Day+phase)) + noise*r.NormFloat64()
	})
}

// stairs is a warm-up of a few large steps: new shapes of requests bring workspaces and kernels. 4 to 12 steps of 64 to 512, the
// first within an hour, the gaps between them longer by half in the mean each time.
func stairs(r *rand.Rand) []float64 {
	left := 4 + r.IntN(9)
	stands, gap := 0.0, 30.0
	next := 2 * gap * r.Float64()
	return of(func(i int) float64 {
		for left > 0 && float64(i) >= next {
			stands += 64 + 448*r.Float64()
			gap *= 1.5
			next += 2 * gap * r.Float64()
			left--
		}
		return stands + noise*r.NormFloat64()
	})
}

// ramp is a long warm-up in many small steps: 64 to 192 each, towards a total of 1 to 3 GiB, as 1 - exp(-t/τ) goes, with a τ of
// 1 to 6 hours. And white. In its first hours nobody can tell it from a leak.
func ramp(r *rand.Rand) []float64 {
	total, tau := 1024+2048*r.Float64(), 60+300*r.Float64()
	stands, step := 0.0, 64+128*r.Float64()
	return of(func(i int) float64 {
		for total*(1-math.Exp(-float64(i)/tau)) >= stands+step {
			stands += step
			step = 64 + 128*r.Float64()
		}
		return stands + noise*r.NormFloat64()
	})
}

// highWater is an allocator that keeps its peak: the largest so far of demands that are exponential with a mean of 140, one a
// minute. It grows as 140 ln t: by 1 GiB in a day, ever more slowly. And white.
func highWater(r *rand.Rand) []float64 {
	peak := 0.0
	return of(func(int) float64 {
		peak = max(peak, 140*r.ExpFloat64())
		return peak + noise*r.NormFloat64()
	})
}

// leak grows by so much a minute. And white.
func leak(perMinute float64) func(*rand.Rand) []float64 {
	return func(r *rand.Rand) []float64 {
		return of(func(i int) float64 { return perMinute*float64(i) + noise*r.NormFloat64() })
	}
}

// stepLeak loses 64 at moments that come at random, 30 minutes apart in the mean: 2.1 a minute. And white.
func stepLeak(r *rand.Rand) []float64 {
	lost, next := 0.0, 30*r.ExpFloat64()
	return of(func(i int) float64 {
		for float64(i) >= next {
			lost += 64
			next += 30 * r.ExpFloat64()
		}
		return lost + noise*r.NormFloat64()
	})
}
