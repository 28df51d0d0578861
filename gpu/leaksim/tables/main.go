// Command tables prints the tables of gpu/leaksim: make sim-gpu.
package main

import (
	"os"

	"autoglm-sidecar/gpu/leaksim"
)

func main() { leaksim.WriteTables(os.Stdout) }
