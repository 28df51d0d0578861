package gpu

import (
	"slices"
	"strings"
	"testing"
)

var (
	two = []Device{
		{UUID: "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", Index: 0, Name: "NVIDIA H100"},
		{UUID: "GPU-89aa0000-0000-4106-c12f-20bd9faed9f7", Index: 1, Name: "NVIDIA H100"},
	}
	cut = []Device{
		{UUID: "GPU-8932f937", Index: 0, MIG: true},
		{UUID: "MIG-a1", Index: 0, Parent: "GPU-8932f937", GI: 1},
		{UUID: "MIG-a2", Index: 1, Parent: "GPU-8932f937", GI: 2},
		{UUID: "GPU-99", Index: 1},
	}
	one     = two[:1]
	half    = []Device{two[0], {Index: 1, Error: "no permission"}}
	oldCut  = []Device{{UUID: "GPU-1", MIG: true}, {UUID: "MIG-GPU-1/1/1", Parent: "GPU-1", GI: 1, CI: 1}, {UUID: "MIG-GPU-1/1/10", Parent: "GPU-1", GI: 1, CI: 10}}
	twins   = []Device{{UUID: "GPU-11", MIG: true}, {UUID: "MIG-a", Parent: "GPU-11", GI: 1}, {UUID: "GPU-12", Index: 1, MIG: true}, {UUID: "MIG-b", Parent: "GPU-12", GI: 1}}
	onePart = []Device{{UUID: "GPU-1", MIG: true}, {UUID: "MIG-a", Parent: "GPU-1", GI: 1}}
	bare    = []Device{{UUID: "GPU-1", MIG: true}}
)

func uuids(devices []Device) string {
	var s []string
	for _, d := range devices {
		s = append(s, d.UUID)
	}
	return strings.Join(s, " ")
}

func TestADeviceIsPickedByAnyOfItsNames(t *testing.T) {
	for _, c := range []struct {
		specs   []string
		devices []Device
		want    string
	}{
		{nil, two, ""},
		{[]string{two[1].UUID}, two, two[1].UUID},
		{[]string{"GPU-8932"}, two, two[0].UUID},
		{[]string{"1", "0"}, two, two[1].UUID + " " + two[0].UUID},
		{[]string{" 1 "}, two, two[1].UUID},
		{[]string{"MIG-a2"}, cut, "MIG-a2"},
		{[]string{"MIG-GPU-8932f937/2/0"}, cut, "MIG-a2"},
		{[]string{"MIG-GPU-89/1/0", "GPU-9"}, cut, "MIG-a1 GPU-99"},
		{[]string{"MIG-GPU-1/1/1"}, oldCut, "MIG-GPU-1/1/1"}, // and not the one that begins with it
		{[]string{"MIG-GPU-1/1/10"}, oldCut, "MIG-GPU-1/1/10"},
	} {
		got, err := Pick(c.specs, c.devices)
		if err != nil || uuids(got) != c.want {
			t.Errorf("%q: %s, %v; want %s", c.specs, uuids(got), err, c.want)
		}
	}
}

func TestWhatPicksNoDeviceSaysWhatThereIs(t *testing.T) {
	for _, c := range []struct {
		specs   []string
		devices []Device
		want    []string // parts of the error
	}{
		{[]string{"0"}, nil, []string{`GPU "0": there is no GPU here`}},
		{[]string{"GPU-7"}, two, []string{"no such device: there are 0 (" + two[0].UUID + "), 1 (" + two[1].UUID + ")"}},
		{[]string{"GPU-89"}, two, []string{"not long enough, it fits 0 (" + two[0].UUID + "), 1 ("}},
		{[]string{"MIG-a"}, two, []string{"no GPU here is divided (MIG): there are 0 (" + two[0].UUID + ")"}},
		{[]string{"MIG-c"}, cut, []string{"no such device: there are MIG-a1 (GI 1, CI 0 of GPU-8932f937), MIG-a2"}},
		{[]string{"MIG-GPU-8932f937/3/0"}, cut, []string{"no such device: there are MIG-a1"}},
		{[]string{"MIG-GPU-1/1/0"}, twins, []string{"not long enough, it fits MIG-a (GI 1, CI 0 of GPU-11), MIG-b"}},
		{[]string{"2"}, two, []string{"no GPU has this index: there are 0 (" + two[0].UUID + "), 1"}},
		{[]string{"-1"}, two, []string{"no GPU has this index"}},
		{[]string{"h100"}, two, []string{`neither an index nor a UUID ("GPU-...", "MIG-...")`}},
		{[]string{"0", "GPU-8932"}, two, []string{`GPU "GPU-8932": the same device as "0": ` + two[0].UUID}},
		{[]string{"0"}, cut, []string{"GPU-8932f937 is divided (MIG)", "name an instance of it: MIG-a1 (GI 1, CI 0 of GPU-8932f937), MIG-a2"}},
		{[]string{"0"}, bare, []string{"GPU-1 is divided (MIG), but has no instances"}},
		{[]string{"1"}, half, []string{"nothing is known of it: no permission"}},
		{[]string{"7", "0", "8"}, two, []string{`GPU "7": `, `GPU "8": `}}, // all that is wrong
	} {
		got, err := Pick(c.specs, c.devices)
		if err == nil || got != nil {
			t.Errorf("%q: %s, %v", c.specs, uuids(got), err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %v\nwant: %s", c.specs, err, part)
			}
		}
	}
}

func TestVisibleDevicesAreThoseThatCUDAShows(t *testing.T) {
	a, b := two[0].UUID, two[1].UUID
	const pci = "PCI_BUS_ID"
	for _, c := range []struct {
		what, value string
		set         bool
		order       string
		devices     []Device
		want        string
		certain     bool
		wrong       string // part of the error
	}{
		{"unset: all", "", false, "", two, a + " " + b, true, ""},
		{"unset where nothing is here", "", false, "", nil, "", true, ""},
		{"unset where one is unreadable", "", false, "", half, a, false, ""},
		{"unset and divided", "", false, "", cut, "MIG-a1 MIG-a2 GPU-99", false, ""},
		{"unset and one instance", "", false, "", onePart, "MIG-a", true, ""},
		{"empty: none", "", true, "", two, "", true, ""},
		{"blank: none", " ", true, "", two, "", true, ""},
		{"an index by the bus", "1", true, pci, two, b, true, ""},
		{"an index by speed", "1", true, "", two, b, false, ""},
		{"by speed, said so", "1", true, "FASTEST_FIRST", two, b, false, ""},
		{"all indices", "1,0", true, "", two, b + " " + a, true, ""},
		{"one device", "0", true, "", one, a, true, ""},
		{"an index where one is unreadable", "0", true, pci, half, a, false, ""},
		{"an unreadable index", "1", true, pci, half, "", false, "nothing is known of it: no permission"},
		{"-1 hides", "-1", true, "", two, "", true, ""},
		{"-1 hides what is behind it", "0,-1,1", true, pci, two, a, true, ""},
		{"too large an index hides", "0,2,1", true, pci, two, a, true, `entry 2, "2", hides itself and all behind it: no GPU has this index`},
		{"an empty entry hides", "0,,1", true, pci, two, a, true, `entry 2, ""`},
		{"a word hides", "none", true, pci, two, "", true, "neither an index nor a UUID"},
		{"junk behind an index", "1gpu", true, pci, two, b, true, ""},
		{"twice", "0,0", true, pci, two, "", true, "names " + a + " twice: CUDA shows no device then"},
		{"twice by UUID", "GPU-8932,GPU-89aa," + a, true, "", two, "", true, "twice"},
		{"a UUID", b, true, "", two, b, true, ""},
		{"abbreviated", "GPU-89aa, GPU-8932", true, "", two, b + " " + a, true, ""},
		{"too short hides", "GPU-8932,GPU-89", true, "", two, a, true, "not long enough"},
		{"unknown hides", "GPU-1,GPU-8932", true, "", two, "", true, "no such device"},
		{"mixed", "GPU-8932,1", true, pci, two, a, false, "not of the first entry's kind"},
		{"an instance", "MIG-a2", true, "", cut, "MIG-a2", true, ""},
		{"an instance by its old name", "MIG-GPU-8932f937/1/0", true, "", cut, "MIG-a1", true, ""},
		{"two instances", "MIG-a1,MIG-a2", true, "", cut, "MIG-a1 MIG-a2", false, ""},
		{"a divided GPU", "GPU-8932f937", true, "", cut, "MIG-a1", false, ""},
		{"a divided GPU's only instance", "0", true, "", onePart, "MIG-a", true, ""},
		{"a divided GPU without any", "0", true, "", bare, "", true, "no instances"},
		{"MIG where there is none", "MIG-a", true, "", two, "", true, "no GPU here is divided (MIG)"},
		{"an index among divided ones", "1", true, pci, cut, "GPU-99", false, ""},
	} {
		got, certain, err := VisibleDevices(c.value, c.set, c.order, c.devices)
		if uuids(got) != c.want || certain != c.certain {
			t.Errorf("%s: %q, certain %v; want %q, %v", c.what, uuids(got), certain, c.want, c.certain)
		}
		if (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: error %v, want %q", c.what, err, c.wrong)
		}
	}
}

// distinct: no device is there twice, and each is one of those there are, with a UUID.
func distinct(t *testing.T, picked, devices []Device) {
	t.Helper()
	for i, d := range picked {
		same := func(o Device) bool { return o.UUID == d.UUID }
		if d.UUID == "" || slices.ContainsFunc(picked[:i], same) || !slices.ContainsFunc(devices, same) {
			t.Errorf("picked %s", uuids(picked))
		}
	}
}

func FuzzPick(f *testing.F) {
	for _, s := range []string{"", "0", "GPU-8932", "MIG-a1", "MIG-GPU-8932f937/1/0", "MIG-GPU-/4294967296/0", "GPU-", "-1"} {
		f.Add(s, "1")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, devices := range [][]Device{nil, two, cut, half, oldCut, twins} {
			picked, err := Pick([]string{a, b}, devices)
			if (err == nil) != (len(picked) == 2) {
				t.Errorf("%d picked, %v", len(picked), err)
			}
			distinct(t, picked, devices)
		}
	})
}

func FuzzVisibleDevices(f *testing.F) {
	for _, s := range []string{"", "0,1", "0,0", "0,-1,1", "GPU-89aa,GPU-8932", "MIG-a1,MIG-GPU-8932f937/2/0", "1gpu2,", "99999999999999999999"} {
		f.Add(s, true, "PCI_BUS_ID")
	}
	f.Add("", false, "")
	f.Fuzz(func(t *testing.T, value string, set bool, order string) {
		for _, devices := range [][]Device{nil, one, two, cut, half, oldCut, twins, onePart} {
			picked, _, err := VisibleDevices(value, set, order, devices)
			if !set && err != nil {
				t.Error(err)
			}
			distinct(t, picked, devices)
		}
	})
}
