package gpu

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestLinesGoThrough(t *testing.T) {
	lines := []Line{
		{Hello: &Hello{Protocol: Protocol, Version: "1.2.3"}},
		{System: &System{Library: Reads, Driver: "550.54.15", CUDA: 12040, Devices: []Device{{UUID: "GPU-1", Total: 80 * GiB}}}},
		{Sample: &Sample{Device: "GPU-1", Used: GiB, Temperature: new(41)}},
		{Processes: &Processes{Device: "GPU-1", Processes: []Process{{PID: 7, Bytes: -1}}}},
		{Condition: &Condition{Device: "GPU-1", Recovery: new(RecoverReset), RowsPending: new(true)}},
		{Event: &Event{Device: "GPU-1", Xid: 79}},
		{Done: 3},
		{Alive: true},
	}
	var b bytes.Buffer
	for _, l := range lines {
		if err := WriteLine(&b, l); err != nil {
			t.Fatal(err)
		}
	}
	b.WriteString(`{"done":4`) // whoever wrote it died over it
	r := NewLines[Line](&b)
	for _, want := range lines {
		got, err := r.Next()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last whole line: %v", err)
	}
}

func TestLinesOfNoProtocol(t *testing.T) {
	for _, text := range []string{"\n", "hello\n", `{"alive":true}]` + "\n", `{"alive":true}{"alive":true}` + "\n", `{"done":"x"}` + "\n", strings.Repeat("x", MaxLine+1) + "\n"} {
		if l, err := NewLines[Line](strings.NewReader(text)).Next(); err == nil || err == io.EOF {
			t.Errorf("%.40q: %+v, %v", text, l, err)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"sample":{"device":"GPU-1","used":5}}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewLines[Line](bytes.NewReader(b))
		for {
			l, err := r.Next()
			if err != nil {
				return
			}
			var out bytes.Buffer
			if err := WriteLine(&out, l); err != nil {
				t.Fatalf("%+v can't be written again: %v", l, err)
			}
		}
	})
}
