// Package health says how a worker is, and for what reasons one is not left as it is.
//
// Instruments speak numbers, rules make signals of them, and the Judge makes a verdict of the signals: well, degraded,
// sick, or hung. A signal is one fact about one life (a probe failed, streams are open and none gets a byte); a verdict
// may be a Reason to restart. A Warnable is a thing that can be wrong, with the words that people see, and what it
// follows from: beside "nobody listens" nobody needs to read "the health page fails".
//
// What is only foreseen, as that memory will be full, is a Notice: people see it, and no verdict stops anybody for it.
//
// A worker that is busy looks much like one that is sick. So whatever the probes say: as long as streams get bytes the
// verdict stops nobody.
//
// Nothing here asks a question, looks at a clock or acts: package probe asks, rules translate, and the machine in package
// supervisor does what a reason calls for.
package health
