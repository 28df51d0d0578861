package gpu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// The line protocol between the sidecar and the program that reads NVML (gpu/nvml): JSON, one object a line, in both
// directions. The reader speaks first, a Hello. Whoever closes his side ends the other: a reader whose sidecar is gone
// reads an end of file and exits.

// Protocol is the version of the lines. Change it with any change of what a field means.
const Protocol = 1

// MaxLine bounds a line in bytes.
const MaxLine = 1 << 20

// Line is one line of the reader. Exactly one field is set.
type Line struct {
	Hello     *Hello     `json:"hello,omitempty"`
	System    *System    `json:"system,omitempty"`
	Sample    *Sample    `json:"sample,omitempty"`
	Processes *Processes `json:"processes,omitempty"`
	Condition *Condition `json:"condition,omitempty"`
	Event     *Event     `json:"event,omitempty"`
	Done      int64      `json:"done,omitempty"` // Order.Now: everything that was asked for has been sent
	Alive     bool       `json:"alive,omitempty"`
}

// Hello is the reader's first line.
type Hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"` // of the program
}

// Library is how the reader stands with the driver's library.
type Library string

// What a library may be like. All but Reads mean that nothing is known of any device; the reader tries again, ever more slowly.
const (
	Reads         Library = "reads"
	NoLibrary     Library = "no_library"     // libnvidia-ml.so.1 can't be loaded
	NoDriver      Library = "no_driver"      // there is no driver, or it is not loaded
	NotPermitted  Library = "not_permitted"  // the system or a cgroup keeps the devices from us
	WrongVersion  Library = "wrong_version"  // the driver was upgraded under a running system
	LibraryFailed Library = "library_failed" // anything else: System.Detail
)

// System is what there is on this machine. It is sent at the start, and whenever it is another than before.
type System struct {
	Library Library  `json:"library"`
	Detail  string   `json:"detail,omitempty"` // the library's own words, where it doesn't read
	Driver  string   `json:"driver,omitempty"` // "550.54.15"
	CUDA    int      `json:"cuda,omitempty"`   // 1000*major + 10*minor, of the driver
	NVML    string   `json:"nvml,omitempty"`
	Devices []Device `json:"devices,omitempty"` // in NVML's order, a GPU's MIG instances behind it
	Lacks   []string `json:"lacks,omitempty"`   // features that this driver has not, by their symbols
}

// Device is a GPU or a MIG instance.
type Device struct {
	UUID   string `json:"uuid"` // "GPU-..." or "MIG-..."
	Index  int    `json:"index"`
	Name   string `json:"name,omitempty"`
	Bus    string `json:"bus,omitempty"`    // PCI bus id
	Parent string `json:"parent,omitempty"` // of a MIG instance: the GPU's UUID
	GI     uint32 `json:"gi,omitempty"`     // of a MIG instance
	CI     uint32 `json:"ci,omitempty"`
	MIG    bool   `json:"mig,omitempty"` // of a GPU: it is divided
	Total  Bytes  `json:"total"`
	Error  string `json:"error,omitempty"` // why nothing else is known
}

// Trouble is why a device says nothing.
type Trouble string

// What may be wrong with a device.
const (
	NoTrouble     Trouble = ""
	Lost          Trouble = "lost"           // fallen off the bus, or otherwise not accessible
	ResetRequired Trouble = "reset_required" // says the driver
	Unpermitted   Trouble = "not_permitted"
	Unsupported   Trouble = "not_supported"
	Unreadable    Trouble = "unreadable" // anything else
)

// Sample is one look at one device's memory. With a Trouble nothing else is known.
type Sample struct {
	Device      string  `json:"device"` // UUID
	Trouble     Trouble `json:"trouble,omitempty"`
	Detail      string  `json:"detail,omitempty"`
	Total       Bytes   `json:"total,omitempty"`
	Used        Bytes   `json:"used,omitempty"` // without Reserved, whatever version of the call there is
	Free        Bytes   `json:"free,omitempty"`
	Reserved    Bytes   `json:"reserved,omitempty"`    // by driver and firmware; 0 and part of Used if the driver doesn't tell it apart
	Utilisation *int    `json:"utilisation,omitempty"` // per cent of the last second; nil: not known
	Temperature *int    `json:"temperature,omitempty"` // °C
}

// Process is one that has memory on a device.
type Process struct {
	PID   int    `json:"pid"`   // as the driver gives it: of which namespace is found out (Mode)
	Bytes Bytes  `json:"bytes"` // -1: not available
	GI    uint32 `json:"gi,omitempty"`
	CI    uint32 `json:"ci,omitempty"`
}

// Processes are all that have a context on one device, MPS clients included.
type Processes struct {
	Device    string    `json:"device"`
	Trouble   Trouble   `json:"trouble,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	Processes []Process `json:"processes,omitempty"`
}

// Condition is how a device itself is. nil: not known, as where the driver or the device doesn't have it.
type Condition struct {
	Device        string    `json:"device"`
	Trouble       Trouble   `json:"trouble,omitempty"`
	Recovery      *Recovery `json:"recovery,omitempty"`
	ClockReasons  *uint64   `json:"clock_reasons,omitempty"` // NVML's bits
	Uncorrected   *uint64   `json:"uncorrected,omitempty"`   // ECC errors since the driver was loaded
	RowsCorrected *int      `json:"rows_corrected,omitempty"`
	RowsBad       *int      `json:"rows_bad,omitempty"` // remapped for uncorrectable errors
	RowsPending   *bool     `json:"rows_pending,omitempty"`
	RowsFailed    *bool     `json:"rows_failed,omitempty"`
}

// Recovery is what the driver wants done with a device (field 230).
type Recovery int

// The recovery actions, by NVML's numbers.
const (
	RecoverNone Recovery = iota
	RecoverReset
	RecoverReboot
	RecoverDrainP2P
	RecoverDrainReset
	RecoverIMEX
	RecoverBusReset
	RecoverSystemReboot
)

// Event is something that the driver told by itself.
type Event struct {
	Device string `json:"device"`
	Xid    uint64 `json:"xid,omitempty"`
	GI     uint32 `json:"gi,omitempty"`
	CI     uint32 `json:"ci,omitempty"`
	// Overflow says that nobody listened for a while: some events may be lost.
	Overflow bool `json:"overflow,omitempty"`
}

// Order is one line to the reader. What it doesn't name stays as it is.
type Order struct {
	// Watch are the UUIDs of the devices to look at from now on.
	Watch          []string      `json:"watch,omitempty"`
	MemoryEvery    time.Duration `json:"memory_every_ns,omitempty"`
	ProcessesEvery time.Duration `json:"processes_every_ns,omitempty"`
	ConditionEvery time.Duration `json:"condition_every_ns,omitempty"`
	// Now asks for a sample and the processes of each device at once, and then Line.Done with the same number; not 0.
	Now int64 `json:"now,omitempty"`
}

// Lines reads lines of one kind.
type Lines[T any] struct{ s *bufio.Scanner }

// NewLines reads from r: Lines[Line] what the reader says, Lines[Order] what it is told.
func NewLines[T any](r io.Reader) *Lines[T] {
	s := bufio.NewScanner(r)
	s.Buffer(nil, MaxLine)
	s.Split(wholeLines)
	return &Lines[T]{s}
}

// wholeLines leaves out what stands behind the last line end: whoever wrote it died over it.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if advance, token, err = bufio.ScanLines(data, false); advance > 0 || err != nil || !atEOF {
		return advance, token, err
	}
	return len(data), nil, nil
}

// Next returns the next line; io.EOF after the last. A line that is none of the protocol is an error, after which there is no
// more sense in reading on.
func (l *Lines[T]) Next() (T, error) {
	var line T
	if !l.s.Scan() {
		if err := l.s.Err(); err != nil {
			return line, fmt.Errorf("read a line: %w", err)
		}
		return line, io.EOF
	}
	if err := json.Unmarshal(l.s.Bytes(), &line); err != nil {
		return line, fmt.Errorf("read a line: %w", err)
	}
	return line, nil
}

// WriteLine writes one line, in one write.
func WriteLine(w io.Writer, line any) error {
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("write a line: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write a line: %w", err)
	}
	return nil
}
