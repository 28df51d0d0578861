// Package check judges the program from outside, as its clients meet it: by the bytes that come out of a socket. It imports
// nothing of ours and shares no code with what it judges, the simulated worker's included, so that the two can't make the
// same mistake.
//
// A Load is some hundreds of clients over real sockets. Each knows beforehand every byte of the answer that it asks for,
// compares what comes with that as it comes, and never asks twice; what became of each request is counted in a Tally. The
// clients watch the pauses between tokens too, and how long they were held.
//
// A Sidecar is the built program, started as `run` with `sim` as its worker in a directory of its own, with the means to do
// what can happen to it: a restart, and the deaths of its runner.
//
// CrashGate and Soak put the two together and report; package demo does it for people to watch. The end-to-end tests are in
// this package's test files. A short run is part of the tests, a long one is a command:
//
//	AUTOGLM_SIDECAR_KILLS=200 go test -run TestEndToEndCrashGate -timeout 30m -v ./supervisor/check
package check
