package health

import (
	"fmt"
	"time"
)

// Severity is how much a warning matters to people.
type Severity uint8

// The severities, least first.
const (
	Low    Severity = iota // worth knowing
	Medium                 // clients may notice
	High                   // clients do notice
)

var severityNames = [...]string{Low: "low", Medium: "medium", High: "high"}

// String gives the severity's name.
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// Code names a Warnable to programs. Codes are kept from release to release.
type Code string

// The things that can be wrong with a worker, and with its GPU.
const (
	WorkerDown     Code = "worker_down"
	TCPFailed      Code = "tcp_failed"
	HTTPFailed     Code = "http_failed"
	ExecFailed     Code = "exec_failed"
	GenerateFailed Code = "generate_failed"
	ProbeUnfit     Code = "probe_unfit"
	AnswersFail    Code = "answers_fail"
	WorkerSilent   Code = "worker_silent"
	WorkerHung     Code = "worker_hung"
	BusyNotSick    Code = "busy_not_sick"

	MemoryFull     Code = "memory_limit"
	MemoryFilling  Code = "memory_forecast"
	MemoryTight    Code = "memory_tight"
	MemoryLatched  Code = "memory_latched"
	ContextsRising Code = "contexts_rising"
	GPUFaulty      Code = "gpu_fault"
	GPUHalted      Code = "gpu_halted"
	GPULost        Code = "gpu_lost"
	GPUUnread      Code = "gpu_unread"
	GPUNote        Code = "gpu_note"
	GPUTooOld      Code = "gpu_too_old"
)

// Warnable is a thing that can be wrong.
type Warnable struct {
	Code     Code
	Title    string // a sentence's beginning, for people
	Severity Severity
	// DependsOn are others that this one follows from: while one of them is wrong this one is not shown.
	DependsOn []Code
	// Visible is how long it must have been wrong before people see it.
	Visible time.Duration
}

// warnables is all there is, in the order in which people see them: causes before what follows from them.
var warnables = []Warnable{
	{Code: GPULost, Title: "the GPU is lost", Severity: High, Visible: 10 * time.Second},
	{Code: GPUHalted, Title: "the GPU can't be used for another life", Severity: High},
	{Code: GPUFaulty, Title: "the GPU had a fault", Severity: Medium, DependsOn: []Code{GPUHalted}},
	{Code: WorkerDown, Title: "nobody listens where the worker should", Severity: High},
	{Code: TCPFailed, Title: "the worker takes no connections", Severity: High, DependsOn: []Code{WorkerDown}},
	{Code: WorkerHung, Title: "the worker hangs", Severity: High, DependsOn: []Code{WorkerDown}},
	{Code: WorkerSilent, Title: "streams are open and none gets a byte", Severity: Medium, DependsOn: []Code{WorkerDown, WorkerHung}},
	{Code: HTTPFailed, Title: "the worker's health page fails", Severity: Medium, DependsOn: []Code{WorkerDown, TCPFailed, WorkerHung}},
	{Code: GenerateFailed, Title: "the worker makes no token when asked for one", Severity: High, DependsOn: []Code{WorkerDown, TCPFailed, WorkerHung}},
	{Code: ExecFailed, Title: "the check command fails", Severity: Medium, DependsOn: []Code{WorkerDown}},
	{Code: AnswersFail, Title: "many answers fail", Severity: Medium, DependsOn: []Code{WorkerDown}, Visible: 10 * time.Second},
	{Code: ProbeUnfit, Title: "a probe asks for what this worker doesn't have", Severity: Low, DependsOn: []Code{WorkerDown, TCPFailed}, Visible: time.Minute},
	{Code: BusyNotSick, Title: "probes fail, but streams get bytes: busy, not sick", Severity: Low},
	{Code: MemoryFull, Title: "the worker's GPU memory is full in all but name", Severity: High},
	{Code: MemoryFilling, Title: "the worker's GPU memory will be full", Severity: Medium, DependsOn: []Code{MemoryFull}},
	{Code: MemoryLatched, Title: "restarts don't give memory back: none is made for it any more", Severity: Medium},
	{Code: ContextsRising, Title: "the worker has more and more processes on the GPU", Severity: Medium},
	{Code: GPUTooOld, Title: "the GPU's driver is too old", Severity: Medium},
	{Code: MemoryTight, Title: "the worker leaves too little GPU memory to tell a leak by", Severity: Low},
	{Code: GPUUnread, Title: "too little is known of the GPU", Severity: Low, DependsOn: []Code{GPULost}, Visible: time.Minute},
	{Code: GPUNote, Title: "the GPU is to be looked at", Severity: Low},
}

// WarnableOf returns the Warnable of a code.
func WarnableOf(code Code) (Warnable, bool) {
	for _, w := range warnables {
		if w.Code == code {
			return w, true
		}
	}
	return Warnable{}, false
}

// Warning is a Warnable that is wrong now.
type Warning struct {
	Warnable
	Since time.Duration // on the judge's clock
	Text  string        // what was seen; may be empty
}

// visible drops the warnings that follow from others and those that are too young, and puts the rest in order.
func visible(all map[Code]Warning, now time.Duration) []Warning {
	var shown []Warning
	for _, w := range warnables {
		warning, wrong := all[w.Code]
		if wrong && now-warning.Since >= w.Visible && !follows(w, all) {
			shown = append(shown, warning)
		}
	}
	return shown
}

// follows says whether one of those that w depends on is wrong, too young to be seen or not.
func follows(w Warnable, all map[Code]Warning) bool {
	for _, cause := range w.DependsOn {
		if _, wrong := all[cause]; wrong {
			return true
		}
	}
	return false
}
