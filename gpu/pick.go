package gpu

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pick returns the devices that are named, in that order. A name is a UUID, "GPU-..." or "MIG-...", which may be cut short as long
// as it fits one device only; a GPU's index by NVML's count; or a MIG instance's old name, "MIG-GPU-UUID/GI/CI".
//
// It returns all that is wrong with the names at once, and no device then.
func Pick(specs []string, devices []Device) ([]Device, error) {
	var picked []Device
	var wrong []error
	by := map[string]string{} // UUID: the name that picked it
	for _, spec := range specs {
		d, err := find(strings.TrimSpace(spec), devices)
		if err == nil {
			err = whole(d, devices)
		}
		if err == nil && by[d.UUID] != "" {
			err = fmt.Errorf("the same device as %q: %s", by[d.UUID], d.UUID)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("GPU %q: %w", spec, err))
			continue
		}
		by[d.UUID] = spec
		picked = append(picked, d)
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	return picked, nil
}

// whole refuses what can't be watched as one device.
func whole(d Device, devices []Device) error {
	switch parts := instances(d, devices); {
	case d.UUID == "":
		return fmt.Errorf("nothing is known of it: %s", orUnknown(d.Error))
	case d.MIG && len(parts) == 0:
		return fmt.Errorf("%s is divided (MIG), but has no instances", d.UUID)
	case d.MIG:
		return fmt.Errorf("%s is divided (MIG), and its memory as a whole can't be read without privileges: name an instance of it: %s",
			d.UUID, list(parts))
	}
	return nil
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown reason"
	}
	return s
}

// find returns the device that a name fits.
func find(spec string, devices []Device) (Device, error) {
	begins := func(d Device) bool { return strings.HasPrefix(d.UUID, spec) }
	switch {
	case len(devices) == 0:
		return Device{}, errors.New("there is no GPU here")
	case strings.HasPrefix(spec, "GPU-"):
		return only(gpus(devices), begins)
	case strings.HasPrefix(spec, "MIG-"):
		parts := slices.DeleteFunc(slices.Clone(devices), func(d Device) bool { return d.Parent == "" })
		if len(parts) == 0 {
			return Device{}, fmt.Errorf("no GPU here is divided (MIG): there are %s", list(devices))
		}
		if uuid, gi, ci, ok := oldName(spec); ok {
			return only(parts, func(d Device) bool { return strings.HasPrefix(d.Parent, uuid) && d.GI == gi && d.CI == ci })
		}
		return only(parts, begins)
	}
	all := gpus(devices)
	index, err := strconv.Atoi(spec)
	if err != nil {
		return Device{}, fmt.Errorf(`neither an index nor a UUID ("GPU-...", "MIG-..."): there are %s`, list(devices))
	}
	for _, d := range all {
		if d.Index == index {
			return d, nil
		}
	}
	return Device{}, fmt.Errorf("no GPU has this index: there are %s", list(all))
}

// only returns the one device that fits.
func only(devices []Device, fits func(Device) bool) (Device, error) {
	var all []Device
	for _, d := range devices {
		if fits(d) {
			all = append(all, d)
		}
	}
	switch len(all) {
	case 0:
		return Device{}, fmt.Errorf("no such device: there are %s", list(devices))
	case 1:
		return all[0], nil
	}
	return Device{}, fmt.Errorf("not long enough, it fits %s", list(all))
}

// oldName takes "MIG-GPU-UUID/GI/CI" apart.
func oldName(spec string) (uuid string, gi, ci uint32, ok bool) {
	parts := strings.Split(strings.TrimPrefix(spec, "MIG-"), "/")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "GPU-") {
		return "", 0, 0, false
	}
	g, err1 := strconv.ParseUint(parts[1], 10, 32)
	c, err2 := strconv.ParseUint(parts[2], 10, 32)
	return parts[0], uint32(g), uint32(c), err1 == nil && err2 == nil
}

// gpus are the devices that are no instances of others.
func gpus(devices []Device) []Device {
	return slices.DeleteFunc(slices.Clone(devices), func(d Device) bool { return d.Parent != "" })
}

// instances are those of one GPU.
func instances(d Device, devices []Device) []Device {
	var parts []Device
	for _, p := range devices {
		if p.Parent != "" && p.Parent == d.UUID {
			parts = append(parts, p)
		}
	}
	return parts
}

// list names devices for people.
func list(devices []Device) string {
	var s []string
	for _, d := range devices {
		switch {
		case d.Parent != "":
			s = append(s, fmt.Sprintf("%s (GI %d, CI %d of %s)", d.UUID, d.GI, d.CI, d.Parent))
		case d.UUID == "":
			s = append(s, fmt.Sprintf("%d (%s)", d.Index, orUnknown(d.Error)))
		default:
			s = append(s, fmt.Sprintf("%d (%s)", d.Index, d.UUID))
		}
	}
	if s == nil {
		return "none"
	}
	return strings.Join(s, ", ")
}

// VisibleDevices returns the devices that CUDA shows a process whose environment has that CUDA_VISIBLE_DEVICES (set: it is there
// at all) and that CUDA_DEVICE_ORDER.
//
// not certain: these are the best guess, and the devices should be looked for by the worker's PIDs. Indices are certain only with
// the order PCI_BUS_ID, since CUDA by itself counts the fastest first, or where the order makes no difference. Of MIG instances CUDA
// shows a process one, whatever is named.
//
// err says which entry hides itself and all behind it, or that a device was named twice, at which CUDA shows none at all; what is
// visible is returned all the same. -1 is no error: people hide devices with it.
//
// Source: CUDA programming guide, environment variables; for duplicates, junk behind an index and entries of mixed kinds, which it
// doesn't mention, torch/cuda/__init__.py (_parse_visible_devices).
func VisibleDevices(value string, set bool, order string, devices []Device) (picked []Device, certain bool, err error) {
	all := gpus(devices)
	readable, divided := true, false
	for _, d := range all {
		readable = readable && d.UUID != "" && d.Error == ""
		divided = divided || d.MIG
	}
	if !set {
		for _, d := range all {
			switch {
			case d.MIG:
				picked = append(picked, instances(d, devices)...)
			case d.UUID != "":
				picked = append(picked, d)
			}
		}
		return picked, readable && (!divided || len(picked) <= 1), nil
	}
	if strings.TrimSpace(value) == "" {
		return nil, true, nil
	}
	certain = true
	entries := strings.Split(value, ",")
	kind := kindOf(strings.TrimSpace(entries[0]))
	for i, entry := range entries {
		entry = strings.TrimSpace(entry)
		var d Device
		index, isIndex := leading(entry)
		switch {
		case kindOf(entry) != kind:
			err, certain = errors.New("it is not of the first entry's kind"), false
		case kind != "":
			d, err = find(entry, devices)
		case isIndex && index < 0:
			return picked, certain && inAnyOrder(picked, all, order, readable, divided), nil
		case !isIndex:
			err = errors.New("it is neither an index nor a UUID")
		default:
			d, err = find(strconv.Itoa(index), devices)
		}
		if err == nil && d.MIG {
			// CUDA takes an instance of it.
			parts := instances(d, devices)
			certain = certain && len(parts) <= 1
			if len(parts) > 0 {
				d = parts[0]
			} else {
				err = errors.New("it is divided (MIG), but has no instances")
			}
		}
		if err == nil && d.UUID == "" {
			err, certain = fmt.Errorf("nothing is known of it: %s", orUnknown(d.Error)), false
		}
		if err != nil {
			err = fmt.Errorf("CUDA_VISIBLE_DEVICES=%s: entry %d, %q, hides itself and all behind it: %w", value, i+1, entry, err)
			break
		}
		if slices.ContainsFunc(picked, func(p Device) bool { return p.UUID == d.UUID }) {
			return nil, certain, fmt.Errorf("CUDA_VISIBLE_DEVICES=%s: names %s twice: CUDA shows no device then", value, d.UUID)
		}
		picked = append(picked, d)
	}
	if kind == "" {
		certain = certain && inAnyOrder(picked, all, order, readable, divided)
	}
	named := slices.DeleteFunc(slices.Clone(picked), func(d Device) bool { return d.Parent == "" })
	return picked, certain && (len(named) == 0 || len(picked) == 1), err
}

// inAnyOrder: the indices by which these were picked mean the same to CUDA as to NVML, or it makes no difference.
func inAnyOrder(picked, all []Device, order string, readable, divided bool) bool {
	if len(picked) == 0 || len(all) == 1 {
		return true
	}
	return readable && !divided && (order == "PCI_BUS_ID" || len(picked) == len(all))
}

func kindOf(entry string) string {
	for _, kind := range []string{"GPU-", "MIG-"} {
		if strings.HasPrefix(entry, kind) {
			return kind
		}
	}
	return ""
}

// leading reads the number that an entry begins with, as strtol does. What is behind it doesn't count.
func leading(entry string) (n int, ok bool) {
	end := 0
	if entry != "" && (entry[0] == '-' || entry[0] == '+') {
		end++
	}
	for end < len(entry) && '0' <= entry[end] && entry[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(entry[:end])
	return n, err == nil
}
