//go:build !race

package relay

// everyPoint: each one.
const everyPoint = 1
