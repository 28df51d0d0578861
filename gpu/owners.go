package gpu

// Mode is how the memory of a worker is told from that of others.
type Mode uint8

// The modes.
const (
	Blind     Mode = iota // it can't be
	ByProcess             // the driver lists our processes, with their memory
	ByDevice              // the device is ours alone: what it uses beyond what it used before the worker began
)

func (m Mode) String() string { return [...]string{"blind", "process", "device"}[m] }

// risen is by how much a device's memory has to be above what it was before a life, for there to be a worker on it: a context
// alone needs about that much.
const risen = 256 * MiB

// noInstance is what drivers give as a process's instance where there is none.
const noInstance = ^uint32(0)

// Use is what a worker uses of one device.
type Use struct {
	Mode     Mode
	Used     Bytes // by the worker
	Others   Bytes // by anybody else, those that the driver doesn't list included
	Contexts int   // processes of the worker on the device; 0: not known
	// OK says that there was something to be had. If not, this look is a gap: nothing else than Mode, Contexts and Unused is set.
	OK bool
	// Unused says that nothing of the worker can be seen on the device: as yet, or because it uses none.
	Unused bool
}

// Set finds out how the memory of one life of a worker can be told from that of others. Drivers give the PIDs of the host, those of
// the caller's namespace, or none at all, so that is seen by what they list. One Set for each life and device.
type Set struct {
	Device Device
	// Exclusive is the user's word that nobody else uses the device.
	Exclusive bool

	mode Mode
}

// Look takes the latest sample and processes of the device, which may be some seconds apart. baseline is what the device used before
// the life began; mine says of a PID, as the driver gives it, whether it is one of the worker's.
//
// A worker whose processes were listed and are not any more is a gap: it lives, or nobody would ask.
func (s *Set) Look(sample Sample, processes Processes, baseline Bytes, mine func(pid int) bool) Use {
	if sample.Trouble != NoTrouble {
		return Use{Mode: s.mode}
	}
	ours, foreign := s.sort(processes.Processes, mine)
	use := Use{Contexts: len(ours)}
	sum, known := total(ours)
	switch rise := sample.Used - baseline; {
	case len(ours) > 0 && known:
		use.Mode, use.Used, use.OK = ByProcess, sum, true
	case len(ours) > 0 && len(foreign) == 0 || len(ours) > 0 && s.Exclusive:
		use.Mode, use.Used, use.OK = ByDevice, rise, rise > 0
	case len(ours) > 0:
		use.Mode = Blind
	case s.mode == ByProcess:
		use.Mode = ByProcess
	case rise <= risen:
		use.Mode, use.Unused = s.mode, true // or not any more
	case s.Exclusive:
		use.Mode, use.Used, use.Contexts, use.OK = ByDevice, rise, len(foreign), true
	}
	s.mode = use.Mode
	if !use.OK {
		use.Used = 0
		return use
	}
	use.Others = max(0, sample.Used-use.Used)
	return use
}

// On says that a process that was listed of a device is on it, and not on another instance of the same GPU.
func (p Process) On(d Device) bool { return d.Parent == "" || p.GI == noInstance || p.GI == d.GI }

// sort tells the worker's processes on this device from others'. A process that is listed twice, as a client of MPS may be, has the
// larger of its memories.
func (s *Set) sort(all []Process, mine func(int) bool) (ours, foreign map[int]Bytes) {
	ours, foreign = map[int]Bytes{}, map[int]Bytes{}
	for _, p := range all {
		to := foreign
		if mine(p.PID) {
			to = ours
		}
		if !p.On(s.Device) {
			continue // it has memory of its own
		}
		if s.Device.Parent != "" && p.GI != noInstance {
			if p.CI != noInstance && p.CI != s.Device.CI {
				to = foreign // it shares the memory
			}
		}
		if b, twice := to[p.PID]; !twice || p.Bytes > b {
			to[p.PID] = p.Bytes
		}
	}
	return ours, foreign
}

// total is known only if each is.
func total(processes map[int]Bytes) (sum Bytes, known bool) {
	for _, b := range processes {
		if b < 0 {
			return 0, false
		}
		sum += b
	}
	return sum, true
}
