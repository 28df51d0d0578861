// autoglm-sidecar restarts an inference worker, and itself, without cutting a stream. To know it, start with package
// supervisor; docs/architecture.md shows all rooms.
package main

import (
	"os"

	"autoglm-sidecar/supervisor/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
