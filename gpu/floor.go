// Package gpu is what a device's memory says of the worker on it: how much is used, whether that grows, and when it would be
// full. It knows neither a worker nor a restart: health/rules makes signals of what it says.
//
// A sample is taken each second (Sample). A minute's lowest sample is its floor (Floors): requests come and go above it, what
// leaks doesn't go. Of the floors an outlook is made (Outlook): how much of the allowance is left, and how long it will last.
package gpu

import "time"

// Bytes are of memory on a device.
type Bytes int64

// MiB and GiB are what people and drivers count in.
const (
	MiB Bytes = 1 << 20
	GiB       = MiB << 10
)

// Floor is the lowest that was seen in one minute.
type Floor struct {
	Minute int64 // since some beginning
	Bytes  Bytes
}

// Minute is what the samples of one minute come to.
type Minute struct {
	Floor

	Highest Bytes
	Good    int // samples
	Wanted  int // samples that there should have been
}

// whole: enough was seen to say how low it was.
func (m *Minute) whole() bool { return m.Good > 0 && 2*m.Good >= m.Wanted }

// Minutes makes minutes of samples. Its zero value is ready.
type Minutes struct {
	// Every is how often a sample is taken, 0 for each second.
	Every time.Duration

	// Now is the minute that is not over yet.
	Now Minute
}

// Take adds a sample that was taken at a time since the beginning; not ok: there was none to be had, as from a device that is
// lost. When a minute has ended by that, Take returns it. Minutes in which nobody looked are not returned at all: a gap, and
// no fall.
func (m *Minutes) Take(at time.Duration, used Bytes, ok bool) (ended Minute, whole bool) {
	minute := int64(at / time.Minute)
	if minute != m.Now.Minute {
		ended, whole = m.Now, m.Now.whole()
		m.Now = Minute{Floor: Floor{Minute: minute}}
	}
	every := m.Every
	if every <= 0 {
		every = time.Second
	}
	m.Now.Wanted = int(time.Minute / every)
	if !ok {
		return ended, whole
	}
	if m.Now.Good == 0 || used < m.Now.Bytes {
		m.Now.Bytes = used
	}
	m.Now.Highest = max(m.Now.Highest, used)
	m.Now.Good++
	return ended, whole
}
