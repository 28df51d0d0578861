// Package double makes a stand-in for NVIDIA's library and says what it shows. The stand-in is built from C (Build) and loaded
// by gpu/nvml as the real one is; what its devices are like stands in a file (State.Write), which it reads again at each call.
// So a test, or a simulated worker, plays a leak or a failure by writing the file anew, several times a second if it likes. Where
// several write one file, at once or after one another, each changes what is there (Update).
package double

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"autoglm-sidecar/gpu"
)

// Variable is the environment variable that tells the library its file.
const Variable = "AUTOGLM_SIDECAR_DOUBLE"

// State is what the library shows. Zero values are what a quiet machine without devices has.
type State struct {
	Driver string        // version; "" is the library's own, which says that it is a double's
	CUDA   int           // of the driver, 1000*major + 10*minor; 0 is the library's own
	Init   int           // error of nvmlInit, by NVML's numbers; 0 is none
	Delay  time.Duration // before each call, in whole milliseconds: a driver that hangs
	GPUs   []GPU
}

// GPU is one device.
type GPU struct {
	Memory

	Bus         string // PCI bus id
	Utilisation int    // per cent
	Temperature int    // °C
	Clocks      uint64 // reasons why they are lower, NVML's bits
	Recovery    gpu.Recovery
	Uncorrected uint64 // ECC errors
	Rows        Rows
	Wait        int // error of waiting for events, at once, by NVML's numbers
	Xids        []Xid
	Instances   []Instance // a GPU with any is divided (MIG)
}

// Memory is what a GPU and an instance of one have alike.
type Memory struct {
	UUID      string
	Name      string // "" is the library's own, which says that it is a double's
	Total     gpu.Bytes
	Reserved  gpu.Bytes // by driver and firmware
	Unowned   gpu.Bytes // used, and by no process that is listed: what the driver hasn't given back yet after a process's end
	Processes []Process
	Owned     []Owned
	Error     int  // of each call about it, by NVML's numbers: 15 is a lost one
	Denied    bool // its processes are not shown to us
}

// Instance is a MIG instance.
type Instance struct {
	Memory

	GI, CI uint32
}

// Process is one that has a context on a device.
type Process struct {
	PID   int
	Bytes gpu.Bytes // -1: the driver doesn't know
	MPS   bool      // it stands in the list of MPS's clients
}

// Owned is memory that lives as long as a process of this machine and a while longer, as a driver's does: whoever has it need not
// tell of its end, and can't where it is killed. It is the library that looks, at each reading, whether the owner lives.
type Owned struct {
	Owner
	Listed  int // PID that the list shows while the owner lives; 0: none
	Bytes   gpu.Bytes
	Release time.Duration // from the owner's end until the driver has its bytes back; whole milliseconds
	// Seen is when the owner was last seen to live, on the machine's monotonic clock, in whole milliseconds; Update sets it. It stands
	// for the owner's end, so that all agree when the driver has the bytes back: whoever wants that exact must update often.
	Seen time.Duration
}

// Rows are the remapped ones.
type Rows struct {
	Corrected, Bad  int
	Pending, Failed bool
}

// Xid is an event. One with a number above all that were there when somebody registered is delivered to him, once.
type Xid struct {
	Number int64 // 1 and up
	Code   int
	In     *Instance // that it is said of; nil: the whole GPU
}

// Raise adds an event of the whole GPU, with the number after all that there are. Where there is no room the oldest goes.
func (g *GPU) Raise(code int) {
	var last int64
	for _, x := range g.Xids {
		last = max(last, x.Number)
	}
	g.Xids = append(g.Xids[max(0, len(g.Xids)-mostXids+1):], Xid{Number: last + 1, Code: code})
}

// Write writes the state to a file, for the library that has path in Variable. Who reads meanwhile sees the old or the new.
func (s State) Write(path string) error {
	if err := s.fits(); err != nil {
		return fmt.Errorf("write the double's state: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write the double's state: %w", err)
	}
	_, err = f.Write(s.text())
	if err == nil {
		err = f.Chmod(0o644) // whoever the library runs as may read it
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write the double's state: %w", err)
	}
	return nil
}

// What the library has room for; it would leave out the rest.
const mostDevices, mostProcesses, mostXids = 64, 64, 32

func (s State) fits() error {
	devices := len(s.GPUs)
	for _, g := range s.GPUs {
		devices += len(g.Instances)
		processes := len(g.Processes) + len(g.Owned)
		for _, i := range g.Instances {
			processes = max(processes, len(i.Processes)+len(i.Owned))
		}
		if processes > mostProcesses || len(g.Xids) > mostXids {
			return fmt.Errorf("%s: at most %d processes and %d events have room", g.UUID, mostProcesses, mostXids)
		}
	}
	if devices > mostDevices {
		return fmt.Errorf("at most %d devices have room", mostDevices)
	}
	return nil
}

// text is the state as the library reads it; library/libnvidia-ml.c says what the lines mean.
func (s State) text() []byte {
	var b bytes.Buffer
	if s.Driver != "" {
		fmt.Fprintf(&b, "driver %s\n", s.Driver)
	}
	if s.CUDA != 0 {
		fmt.Fprintf(&b, "cuda %d\n", s.CUDA)
	}
	fmt.Fprintf(&b, "init %d\ndelay %d\n", s.Init, s.Delay.Milliseconds())
	for _, g := range s.GPUs {
		fmt.Fprintf(&b, "gpu %s\n", g.UUID)
		g.write(&b)
		fmt.Fprintf(&b, "bus %s\nutil %d\ntemp %d\nclocks %d\nrecovery %d\necc %d\nwait %d\n", cmp.Or(g.Bus, "00000000:01:00.0"),
			g.Utilisation, g.Temperature, g.Clocks, g.Recovery, g.Uncorrected, g.Wait)
		fmt.Fprintf(&b, "rows %d %d %d %d\n", g.Rows.Corrected, g.Rows.Bad, digit(g.Rows.Pending), digit(g.Rows.Failed))
		for _, x := range g.Xids {
			gi, ci := int64(-1), int64(-1)
			if x.In != nil {
				gi, ci = int64(x.In.GI), int64(x.In.CI)
			}
			fmt.Fprintf(&b, "xid %d %d %d %d\n", x.Number, x.Code, gi, ci)
		}
		for _, i := range g.Instances {
			fmt.Fprintf(&b, "mig %s %d %d\n", i.UUID, i.GI, i.CI)
			i.write(&b)
		}
	}
	b.WriteString("end\n")
	return b.Bytes()
}

// write writes the lines that a GPU and an instance have alike.
func (m Memory) write(b *bytes.Buffer) {
	if m.Name != "" {
		fmt.Fprintf(b, "name %s\n", m.Name)
	}
	fmt.Fprintf(b, "total %d\nreserved %d\nunowned %d\nerror %d\ndenied %d\n", m.Total, m.Reserved, m.Unowned, m.Error, digit(m.Denied))
	for _, p := range m.Processes {
		list := "proc"
		if p.MPS {
			list = "mps"
		}
		fmt.Fprintf(b, "%s %d %d\n", list, p.PID, p.Bytes)
	}
	for _, o := range m.Owned {
		fmt.Fprintf(b, "owned %d %d %d %d %d %d\n", o.PID, o.Start, o.Listed, o.Bytes, o.Release.Milliseconds(), o.Seen.Milliseconds())
	}
}

func digit(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
