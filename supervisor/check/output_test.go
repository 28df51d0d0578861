package check

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWhatTheOutputTells(t *testing.T) {
	s := &Sidecar{}
	var err error
	if s.log, err = os.Create(filepath.Join(t.TempDir(), "output")); err != nil {
		t.Fatal(err)
	}
	defer s.log.Close()
	if _, err := s.log.WriteString(`{"level":"INFO","msg":"starting"}
WARNING: DATA RACE
no JSON at all
{"msg":"took over","took":"3.5ms","found":{"streams_mended":7,"bytes_taken_not_noted":1}}
{"msg":"took over","took":"4ms","found":{"streams_mended":9,"bytes_taken_not_noted":2}}
panic: oh
`); err != nil {
		t.Fatal(err)
	}
	told := s.takeOvers()
	if len(told) != 2 || time.Duration(told[0].Took) != 3500*time.Microsecond || told[1].Found["bytes_taken_not_noted"] != 2 {
		t.Errorf("want two take-overs, the first of 3.5ms, got %+v", told)
	}
	if troubles := s.troubles(); len(troubles) != 2 || troubles[0] != "WARNING: DATA RACE" || troubles[1] != "panic: oh" {
		t.Errorf("want a race and a panic, got %q", troubles)
	}
	if last := s.LastLines(); last[len(last)-len("panic: oh"):] != "panic: oh" {
		t.Errorf("the last line is missing: %q", last)
	}
}
