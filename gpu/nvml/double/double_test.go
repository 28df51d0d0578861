package double

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"autoglm-sidecar/gpu"
)

func TestAStateAsTheLibraryReadsIt(t *testing.T) {
	in := Instance{GI: 3, CI: 1, Memory: Memory{UUID: "MIG-x", Total: 10}}
	s := State{Init: 9, GPUs: []GPU{{
		Memory:    Memory{UUID: "GPU-x", Name: "A card", Total: 80, Unowned: 5, Processes: []Process{{PID: 7, Bytes: -1}, {PID: 8, Bytes: 2, MPS: true}}},
		Rows:      Rows{Bad: 1, Failed: true},
		Recovery:  gpu.RecoverReset,
		Xids:      []Xid{{Number: 1, Code: 79}, {Number: 2, Code: 31, In: &in}},
		Instances: []Instance{in},
	}}}
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := s.Write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"init 9", "delay 0",
		"gpu GPU-x", "name A card", "total 80", "reserved 0", "unowned 5", "error 0", "denied 0", "proc 7 -1", "mps 8 2",
		"bus 00000000:01:00.0", "util 0", "temp 0", "clocks 0", "recovery 1", "ecc 0", "wait 0", "rows 0 1 0 1",
		"xid 1 79 -1 -1", "xid 2 31 3 1",
		"mig MIG-x 3 1", "total 10", "reserved 0", "unowned 0", "error 0", "denied 0",
		"end", "",
	}, "\n")
	if string(text) != want {
		t.Errorf("the file is\n%s\nwant\n%s", text, want)
	}
	// Another state replaces it; no part of the work stays behind.
	if err := (State{}).Write(path); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("the directory has %v, %v; want the file alone", left, err)
	}
}

func TestWhatTheLibraryHasNoRoomFor(t *testing.T) {
	dir := t.TempDir()
	for what, s := range map[string]State{
		"devices":   {GPUs: make([]GPU, mostDevices+1)},
		"processes": {GPUs: []GPU{{Memory: Memory{Processes: make([]Process, mostProcesses+1)}}}},
		"events":    {GPUs: []GPU{{Xids: make([]Xid, mostXids+1)}}},
	} {
		if err := s.Write(filepath.Join(dir, "state")); err == nil {
			t.Errorf("too many %s are written", what)
		}
	}
	if err := (State{}).Write(filepath.Join(dir, "nowhere", "state")); err == nil {
		t.Error("a state is written where there is no directory")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("the directory has %v, %v", left, err)
	}
}
