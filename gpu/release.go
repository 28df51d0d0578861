package gpu

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// slack is how much more than before a life a device may use after it, for its memory to count as given back: what the driver keeps
// for itself changes a little.
func slack(total Bytes) Bytes { return max(512*MiB, total/100) }

// Left is what a life that has ended left on a device, by a look at it that is younger than the end.
type Left struct {
	Device    Device
	Sample    Sample
	Processes Processes
	Mine      func(pid int) bool // was one of the life's, as the driver gives PIDs
	Baseline  Bytes              // used before the life began; below 0: not known
	Need      Bytes              // that the next life will want; 0: not known
	Shared    bool               // others use the device, too
	Patient   bool               // it has been waited for long: room for the next life is enough
	Name      func(pid int) string
}

// Free says that the device's memory is free for the next life, or who holds it. Where the device is the worker's alone it has to be as
// it was, or if it doesn't get so for long, what the next life needs has to be free; where it isn't, that alone. Where nothing of either is known it has to be enough that none
// of the life's processes is listed any more.
func (l *Left) Free() (free bool, held string) {
	if l.Sample.Trouble != NoTrouble {
		return false, fmt.Sprintf("GPU %d can't be read: %s", l.Device.Index, l.Sample.Trouble)
	}
	var ours, others []Process
	for _, p := range l.Processes.Processes {
		if l.Mine(p.PID) {
			ours = append(ours, p)
		} else {
			others = append(others, p)
		}
	}
	if len(ours) > 0 {
		return false, l.holders(ours)
	}
	most := l.Baseline + slack(l.Sample.Total)
	switch {
	case l.Patient && l.Need > 0 && l.Sample.Free >= l.Need:
		return true, ""
	case !l.Shared && len(others) == 0 && l.Baseline >= 0:
		if l.Sample.Used <= most {
			return true, ""
		}
		return false, fmt.Sprintf("%s of GPU %d, held by no process that the driver lists", l.Sample.Used-l.Baseline, l.Device.Index)
	case l.Need > 0 && l.Sample.Free >= l.Need:
		return true, ""
	case l.Baseline >= 0 && l.Sample.Used <= most: // what it was before, and that was enough
		return true, ""
	case l.Need > 0:
		return false, fmt.Sprintf("%s of GPU %d are free and %s are needed: %s", l.Sample.Free, l.Device.Index, l.Need, l.holders(others))
	}
	return true, ""
}

// mostHolders is how many are named.
const mostHolders = 3

// holders names those with the most memory.
func (l *Left) holders(all []Process) string {
	if len(all) == 0 {
		return "no process is listed"
	}
	slices.SortFunc(all, func(a, b Process) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.PID, b.PID)) })
	var names []string
	for _, p := range all[:min(len(all), mostHolders)] {
		name := fmt.Sprintf("PID %d", p.PID)
		if l.Name != nil {
			if comm := l.Name(p.PID); comm != "" {
				name += " (" + comm + ")"
			}
		}
		if p.Bytes >= 0 {
			name += fmt.Sprintf(" holds %s of GPU %d", p.Bytes, l.Device.Index)
		} else {
			name += fmt.Sprintf(" is on GPU %d", l.Device.Index)
		}
		names = append(names, name)
	}
	if more := len(all) - mostHolders; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
