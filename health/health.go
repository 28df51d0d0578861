// Package health holds the words for why a worker is not left as it is.
//
// A worker is replaced for a reason, and a person reads that reason a week later in the ledger. Reason lists all there
// are, says which of them was a person's own wish, and which are grave enough to end streams that are still running.
// Nothing here asks a question or acts: the machine in package supervisor does what a reason calls for.
package health
