//go:build race

package relay

// everyPoint: the race detector makes each run ten times as long, and each kind of point comes many times.
const everyPoint = 13
