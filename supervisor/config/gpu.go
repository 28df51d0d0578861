package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// GPU is which devices a worker has, how they are looked at, and what follows from what is seen. What each is for, and why
// its default is what it is, is said in docs/configuration.md.
type GPU struct {
	// Devices are those that the worker has: numbers, and UUIDs or beginnings of them (GPU-..., MIG-...). Empty: as the
	// worker's CUDA_VISIBLE_DEVICES says; NoDevices alone: none is watched.
	Devices  []string
	Reader   string // absolute path of autoglm-sidecar-nvml; empty: beside this program, else from PATH; ReaderOff: nothing is read
	Library  string // absolute path of libnvidia-ml.so.1; empty: the system's
	Exporter string // URL of a dcgm-exporter's metrics; empty: none is asked
	Limit    Limit
	Shared   Sharing
	Forecast Forecast
	Window   time.Duration // of memory's past that a forecast is made from
	Horizon  time.Duration // a forecast that says full within it is one to act on
	Hold     time.Duration // once it has said so for so long without a break
	// ReclaimTime is how long the device's memory has to come back after a life has ended.
	ReclaimTime time.Duration
	Need        int64 // bytes that must be free for a start on a device that others use, too; 0: as measured

	MinimumDriver string // as in 550.54; empty: any
	MinimumCUDA   string // of the driver, as in 12.4; empty: any
	TooOld        TooOld

	// Faults are Xid numbers, and for each FaultIgnore, FaultNote, FaultRestart or FaultHalt, instead of what is done
	// about it by default.
	Faults map[uint64]string
}

// Limit is how much of a device's memory may be in use. At most one is set; none: all that it has.
type Limit struct {
	Bytes int64
	Share float64 // of the device's memory, 0 to 1
}

// Sharing says whether others use the device, too.
type Sharing string

// Whether they do.
const (
	SharedAuto Sharing = "auto" // as is seen
	SharedYes  Sharing = "yes"
	SharedNo   Sharing = "no"
)

// Forecast says what is done when a worker's memory is going to be full.
type Forecast string

// What is done.
const (
	ForecastAct  Forecast = "act"  // it is restarted in time
	ForecastWarn Forecast = "warn" // it is only told
	ForecastOff  Forecast = "off"  // nothing is said
)

// TooOld says what is done about a driver that is older than the least.
type TooOld string

// What is done.
const (
	TooOldRefuse TooOld = "refuse" // no worker is started
	TooOldWarn   TooOld = "warn"
)

// What is done about a fault of a device (an Xid).
const (
	FaultIgnore  = "ignore"
	FaultNote    = "note"    // told, and nothing is done
	FaultRestart = "restart" // a restart is the remedy: it explains a failure of the worker, and restarts nobody by itself
	FaultHalt    = "halt"    // no worker is started any more; one that lives goes on
)

// Words of the settings.
const (
	NoDevices = "none"
	ReaderOff = "off"
)

// DefaultGPU is what holds where nothing is said of any GPU.
func DefaultGPU() GPU {
	return GPU{
		Shared: SharedAuto, Forecast: ForecastAct,
		Window: time.Hour, Horizon: 10 * time.Hour, Hold: time.Hour,
		ReclaimTime: 2 * time.Minute,
		TooOld:      TooOldRefuse,
	}
}

// The bounds of how much memory a device may be said to have.
const (
	leastMemory = 1 << 20
	mostMemory  = 1 << 44
)

var gpu = object{
	{name: "devices", field: "Devices", form: words{good: checkDevice, empty: true}, help: "the worker's GPUs: numbers, or UUIDs or beginnings of them (GPU-..., MIG-...); not said: as its CUDA_VISIBLE_DEVICES says, none: none is watched"},
	{name: "reader", field: "Reader", form: text(checkReader), help: "path of autoglm-sidecar-nvml (default: beside this program, else from PATH); off: nothing is read"},
	{name: "library", field: "Library", form: text(checkAbsolute), help: "path of libnvidia-ml.so.1 (default: the system's)"},
	{name: "exporter", field: "Exporter", form: text(checkExporter), help: "URL of a dcgm-exporter's /metrics, for where no device is given to us"},
	{name: "limit", field: "Limit", form: limit, help: "how much of a device's memory the worker may use, a size or a share; 0: what the device has"},
	{name: "shared", field: "Shared", form: oneOf(SharedAuto, SharedYes, SharedNo), help: "whether others use the device, too; auto: as is seen"},
	{name: "forecast", field: "Forecast", form: oneOf(ForecastAct, ForecastWarn, ForecastOff), help: "when memory is going to be full: act, restart in time; warn, only tell; off, say nothing"},
	{name: "window", field: "Window", form: spanUpTo(15*time.Minute, 4*time.Hour, ""), help: "of memory's past that a forecast is made from"},
	{name: "horizon", field: "Horizon", form: spanUpTo(time.Hour, 7*24*time.Hour, ""), help: "a forecast counts that says full within it"},
	{name: "hold", field: "Hold", form: spanUpTo(time.Minute, 24*time.Hour, "at once"), help: "for how long it must have said so without a break"},
	{name: "reclaim_time", field: "ReclaimTime", form: spanUpTo(time.Second, time.Hour, ""), help: "how long memory has to come back after a stop"},
	{name: "need", field: "Need", form: size(leastMemory, mostMemory, "as measured"), help: "memory that must be free on a shared device before the next life starts"},
	{name: "minimum_driver", field: "MinimumDriver", form: version("550.54", 4), help: "the oldest driver that will do"},
	{name: "minimum_cuda", field: "MinimumCUDA", form: version("12.4", 2), help: "the oldest CUDA, of the driver, that will do"},
	{name: "too_old", field: "TooOld", form: oneOf(TooOldRefuse, TooOldWarn), help: "what a driver older than that means: refuse, no worker is started; warn"},
	{name: "faults", field: "Faults", form: faults{}, help: "numbers of faults (Xid), and for each ignore, note, restart or halt, instead of what is done by default"},
}

// judgeGPU looks at what goes together, and notes what has no effect.
func (s Settings) judgeGPU(j *judge, r *Run) {
	g := s.GPU
	for i, device := range g.Devices {
		at := element("gpu.devices", i)
		switch {
		case device == NoDevices && len(g.Devices) > 1:
			j.addf(at, device, "stands alone, or not at all: there are other devices beside it")
		case slices.Contains(g.Devices[:i], device):
			j.addf(at, device, "is here twice")
		}
	}
	if g.Need > 0 && g.Limit.Bytes > 0 && g.Need > g.Limit.Bytes {
		j.addf("gpu.need", shortSize(g.Need), "is more than gpu.limit (%s): no worker would ever be started", shortLimit(g.Limit))
	}
	if g.Hold >= g.Horizon && g.Forecast != ForecastOff {
		j.addf("gpu.hold", shortSpan(g.Hold), "must be shorter than gpu.horizon (%s), or memory is full before anything is done", shortSpan(g.Horizon))
	}
	if g.Reader == ReaderOff && g.Exporter == "" {
		for _, least := range []struct{ key, version string }{{"gpu.minimum_driver", g.MinimumDriver}, {"gpu.minimum_cuda", g.MinimumCUDA}} {
			if least.version != "" {
				j.addf(least.key, least.version, "nothing reads the driver's version: gpu.reader is off")
			}
		}
	}
	s.noteUnwatched(r)
	r.GPU = g
	if len(g.Devices) == 0 {
		r.GPU.Devices = nil // whoever says that there are none says nothing
	}
	if len(g.Faults) == 0 {
		r.GPU.Faults = nil
	}
}

// noteUnwatched tells of what was said about devices that nobody looks at.
func (s Settings) noteUnwatched(r *Run) {
	why := ""
	switch {
	case slices.Equal(s.GPU.Devices, []string{NoDevices}):
		why = "no GPU is watched: gpu.devices is none"
	case s.GPU.Reader == ReaderOff && s.GPU.Exporter == "":
		why = "no GPU is watched: gpu.reader is off, and there is no gpu.exporter"
	default:
		return
	}
	for _, key := range []string{"gpu.limit", "gpu.need", "gpu.faults"} {
		if s.said(key) {
			r.note(s, key, "has no effect; "+why)
		}
	}
}

var (
	deviceNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,2})$`)
	deviceUUID   = regexp.MustCompile(`^(GPU|MIG)-[0-9A-Za-z/-]+$`)
)

// checkDevice judges a device as CUDA_VISIBLE_DEVICES names it, or none. Older drivers name a MIG instance
// MIG-GPU-UUID/GI/CI.
func checkDevice(text string) error {
	if text == NoDevices || deviceNumber.MatchString(text) || deviceUUID.MatchString(text) {
		return nil
	}
	return errors.New("must be a number, a UUID or its beginning as in GPU-8f1c or MIG-8f1c, or none alone")
}

func checkReader(text string) error {
	if text == ReaderOff {
		return nil
	}
	if err := checkAbsolute(text); err != nil {
		return errors.New("must be off, or a path that begins with /")
	}
	return nil
}

// checkAbsolute judges the path of a file. Who takes over from us may stand in another directory.
func checkAbsolute(text string) error {
	if text != "" && !strings.HasPrefix(text, "/") {
		return errors.New("must be a path that begins with /")
	}
	return nil
}

func checkExporter(text string) error {
	if text == "" {
		return nil
	}
	const like = "as in http://127.0.0.1:9400/metrics"
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return errors.New("must be an http or https URL, " + like)
	case u.User != nil:
		return errors.New("has a user or a password, which no exporter asks for; write it " + like)
	case u.Path == "" || u.Path == "/":
		return fmt.Errorf("has no path; write it %s", like)
	case u.Fragment != "":
		return errors.New("has a #, which is sent to nobody; write it " + like)
	}
	return nil
}
