package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

// target says which running sidecar a subcommand means, and how it prints.
type target struct {
	name    string
	control string
	json    bool
}

func (t *target) register(c *cobra.Command) {
	d := config.Defaults()
	c.Flags().StringVar(&t.name, "name", d.Name, "name of the sidecar")
	c.Flags().StringVar(&t.control, "control", "", "path of its control socket (default: NAME.sock in the runtime directory)")
	c.Flags().BoolVar(&t.json, "json", false, "print JSON")
}

// words returns what has to be typed to mean the same sidecar again.
func (t *target) words() string {
	if t.control != "" {
		return "--control " + config.Quote(t.control)
	}
	return "--name " + t.name
}

// find returns a client of the sidecar that is meant. If it isn't running the error names each socket that was tried.
func (t *target) find(h config.Host) (*admin.Client, error) {
	if err := config.CheckName(t.name); err != nil {
		return nil, usageError{fmt.Errorf("--name %q: %w", t.name, err)}
	}
	paths := config.ControlPaths(t.name, h)
	if t.control != "" {
		paths = []string{t.control}
	}
	client, err := admin.Find(paths)
	none, ok := err.(admin.NotRunning)
	switch {
	case !ok:
		return client, err
	case none.Forbidden():
		return nil, fmt.Errorf("%w; ask as root, as the sidecar's user, or as a member of the socket's group", err)
	case t.control != "":
		return nil, fmt.Errorf("%w; start one with %s run %s, or name another socket", err, program, t.words())
	default:
		return nil, fmt.Errorf("%w; start one with %s run, or name its socket with --control", err, program)
	}
}

// printJSON writes one value, indented as people like to read it.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
