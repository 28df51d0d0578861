package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"autoglm-sidecar/sockets/keeper"
	"autoglm-sidecar/supervisor/daemon"

	"github.com/spf13/cobra"
)

// version is set by make, through the linker: -X autoglm-sidecar/supervisor/cli.version=...
var version string

// buildVersion returns which build this is. What go build notes by itself stands in where make did not say.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return cmp.Or(info.Main.Version, "unknown")
}

// build is what `version --json` prints.
type build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Keeper  bool   `json:"keeper"` // the keeper is the program's entry point
}

func newVersion() *cobra.Command {
	var asJSON, arena bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Say which build this is, and whether it has a keeper",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			b := build{Version: buildVersion(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Keeper: keeper.Entered()}
			if arena {
				return printJSON(c.OutOrStdout(), daemon.Told{Version: b.Version, Keeper: b.Keeper, Formats: daemon.OwnFormats()})
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), b)
			}
			with := "with a keeper"
			if !b.Keeper {
				with = "WITHOUT a keeper: it won't survive its own death; build with make build"
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s %s, %s %s/%s, %s\n", program, b.Version, b.Go, b.OS, b.Arch, with)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&arena, "arena", false, "print, as JSON, what an upgrade has to know: version, keeper, and how memory is laid out")
	return c
}
