package rules

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/health"
)

// Forecast is what is done when a worker's memory is going to be full, in the words of the settings.
type Forecast string

// What is done. It holds for memory that is full in all but name, too.
const (
	ForecastAct  Forecast = "act"  // a restart is asked for
	ForecastWarn Forecast = "warn" // people are told
	ForecastOff  Forecast = "off"  // nothing
)

// GPU is what the instruments say of one device of one life.
type GPU struct {
	Device string // UUID
	Name   string // what people call it; told where the worker has several

	// Unread is why nothing is read of this device, as that its reader is silent; empty: it is read.
	Unread  string
	Trouble gpu.Trouble
	Detail  string // of Trouble

	Use      gpu.Use
	Outlook  gpu.Outlook
	Hard     bool // what gpu.Forecast.Sample said last
	Contexts gpu.Contexts

	// What gpu.Faults says. The zero Finding: nothing.
	Halt, Explains gpu.Finding
	Notes          []gpu.Finding
}

// GPUs is what is known of all devices of one life.
type GPUs struct {
	Devices []GPU
	// Unread is why nothing is known of any device, as that nobody is there to read; empty: something is.
	Unread  string
	TooOld  string   // what is older than it should be; empty: nothing
	Latched []Latch  // of Plan
	Mode    Forecast // ForecastOff: nothing is said of memory that will be full
}

// Latch is that a restart gave no memory back.
type Latch struct {
	Device        string
	Before, After gpu.Bytes // where the life before ended, and where the one after it began
}

// String says so to people.
func (l Latch) String() string {
	return fmt.Sprintf("%s were used before the restart, %s are after it", l.Before, l.After)
}

// perDevice are the codes that signals about each device have.
var perDevice = []health.Code{
	health.GPULost, health.GPUHalted, health.GPUFaulty, health.MemoryFull, health.MemoryFilling, health.MemoryLatched,
	health.ContextsRising, health.MemoryTight, health.GPUUnread, health.GPUNote,
}

// About names what a signal is about: something that may be wrong with a device, or with all if device is empty.
func About(code health.Code, device string) string {
	if device == "" {
		return string(code)
	}
	return string(code) + ":" + device
}

// AskedOfGPUs are for the judge: all that Signals may be about. Without devices it is what is known before any device is.
func AskedOfGPUs(devices ...string) []health.Asked {
	once := func(kind health.Kind, code health.Code, device string) health.Asked {
		return health.Asked{About: About(code, device), Kind: kind, Rise: 1, Fall: 1}
	}
	asked := []health.Asked{once(health.Notice, health.GPUUnread, ""), once(health.Notice, health.GPUTooOld, "")}
	for _, code := range perDevice {
		kind := health.Notice
		if code == health.GPUFaulty {
			kind = health.Fault
		}
		for _, device := range devices {
			asked = append(asked, once(kind, code, device))
		}
	}
	return asked
}

// Names are the devices'.
func (g GPUs) Names() (devices []string) {
	for _, d := range g.Devices {
		devices = append(devices, d.Device)
	}
	return devices
}

// Signals are all that there are, good ones too, about what AskedOfGPUs says. now is on the clock that gpu.Contexts was told.
func (g GPUs) Signals(life int64, now time.Duration) []health.Signal {
	var signals []health.Signal
	say := func(code health.Code, device, text string) {
		signals = append(signals, health.Signal{Life: life, About: About(code, device), Code: code, Bad: text != "", Text: text})
	}
	say(health.GPUUnread, "", g.Unread)
	say(health.GPUTooOld, "", g.TooOld)
	for _, d := range g.Devices {
		for _, code := range perDevice {
			text := g.text(code, d, now)
			if text != "" {
				text = g.name(d) + text
			}
			say(code, d.Device, text)
		}
	}
	return signals
}

// name is what a text about a device begins with.
func (g GPUs) name(d GPU) string { return nameOf(d, len(g.Devices)) }

func nameOf(d GPU, of int) string {
	if of < 2 {
		return ""
	}
	return cmp.Or(d.Name, d.Device) + ": "
}

// text is what is wrong with a device; empty: not this.
func (g GPUs) text(code health.Code, d GPU, now time.Duration) string {
	switch code {
	case health.GPULost:
		return lost(d)
	case health.GPUUnread:
		if g.Unread == "" {
			return unread(d)
		}
	case health.GPUHalted:
		return d.Halt.Text
	case health.GPUFaulty:
		return d.Explains.Text
	case health.GPUNote:
		return notes(d.Notes)
	case health.MemoryFull:
		if d.Hard && g.Mode != ForecastOff {
			return Full(d)
		}
	case health.MemoryFilling:
		if g.Mode != ForecastOff {
			return Filling(d.Outlook)
		}
	case health.MemoryLatched:
		for _, l := range g.Latched {
			if l.Device == d.Device {
				return l.String()
			}
		}
	case health.ContextsRising:
		return rising(d.Contexts, now)
	case health.MemoryTight:
		if d.Outlook.Stage == gpu.Tight {
			return fmt.Sprintf("%s to grow into, and %s are needed; lower worker.memory_share "+
				"(--gpu-memory-utilization of vLLM, --mem-fraction-static of SGLang)", d.Outlook.Allowance, gpu.LeastAllowance)
		}
	default: // it isn't about a device
	}
	return ""
}

// lost are the troubles of a device that is not there any more. All others only keep it from being read.
func lost(d GPU) string {
	what := ""
	switch d.Trouble {
	case gpu.Lost:
		what = "it doesn't answer any more"
	case gpu.ResetRequired:
		what = "the driver says that it must be reset"
	case gpu.NoTrouble, gpu.Unpermitted, gpu.Unsupported, gpu.Unreadable:
	}
	return detailed(what, d.Detail)
}

func unread(d GPU) string {
	switch {
	case d.Unread != "":
		return d.Unread
	case d.Trouble == gpu.Unpermitted:
		return detailed("we may not read it", d.Detail)
	case d.Trouble == gpu.Unsupported:
		return detailed("its memory can't be read", d.Detail)
	case d.Trouble == gpu.Unreadable:
		return detailed("reading it fails", d.Detail)
	case d.Trouble == gpu.NoTrouble && d.Use.Mode == gpu.Blind && !d.Use.Unused:
		return "what the worker uses of it can't be told from what others use; if it has it for itself, write gpu.shared: no"
	}
	return ""
}

func detailed(what, detail string) string {
	if what != "" && detail != "" {
		what += " (" + detail + ")"
	}
	return what
}

func notes(findings []gpu.Finding) string {
	var texts []string
	for _, f := range findings {
		texts = append(texts, f.Text)
	}
	return strings.Join(texts, "; ")
}

// Full is of memory that is full in all but name.
func Full(d GPU) string {
	used := d.Outlook.Floor
	if d.Use.OK {
		used = d.Use.Used
	}
	return fmt.Sprintf("%s are used, and it may use %s", used, d.Outlook.Limit)
}

// Filling is of memory that will be full, as in "full in 2 h 10 min at 31 MiB/min"; empty: nothing says so.
func Filling(o gpu.Outlook) string {
	share := fmt.Sprintf("%.0f %% of what it may grow by is used", 100*float64(o.Floor-o.Plateau)/float64(o.Allowance))
	switch soon := fmt.Sprintf("full in %s at %s", gpu.Far(o.Full), gpu.Rate(o.Trend.Lower)); {
	case o.Foreseen && o.Soft:
		return soon + ", " + share
	case o.Foreseen:
		return soon
	case o.Soft:
		return share
	}
	return ""
}

func rising(c gpu.Contexts, now time.Duration) string {
	expected, count, since, rising := c.Rising()
	if !rising {
		return ""
	}
	return fmt.Sprintf("%d contexts for %s, %d expected", count, gpu.Far(now-since), expected)
}
