package gpu

import "time"

// SourceKind is how that stands from which lines come: the program that reads NVML, or another exporter.
type SourceKind string

// What a source may be like. Of all but SourceReads the latest lines are old.
const (
	SourceAbsent  SourceKind = "absent"   // there is no such program; it is looked for again
	SourceStarts  SourceKind = "starting" // nothing has come yet
	SourceReads   SourceKind = "reading"
	SourceSilent  SourceKind = "silent"  // no answer for long
	SourceFailed  SourceKind = "failed"  // it has ended, and is started again after a while
	SourceRefused SourceKind = "refused" // it speaks another version of the protocol
)

// SourceState is how a source stands: a value, that doesn't change any more.
type SourceState struct {
	Kind    SourceKind
	Since   time.Time // that it is of this kind
	Text    string    // for people: why, where it doesn't read
	PID     int       // of the program that runs; 0: none does
	Starts  int       // how many times it was started
	Version string    // of the program, as its latest Hello said
}
