package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

func newConfig(h config.Host) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Check and show settings",
		Long: `Check and show settings.

` + exitHelp,
	}
	c.AddCommand(newConfigCheck(h), newConfigShow(h), newConfigSchema())
	return c
}

func newConfigCheck(h config.Host) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check FILE [-- COMMAND ARG...]",
		Short: "Say what is wrong with a file of settings, all at once, or what it would run",
		Long: `Say what is wrong with a file of settings, all at once, or what it would run. Nothing is opened and nobody is started.

` + exitHelp,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := resolveFile(c, args, h)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), r.Shown)
			}
			_, err = io.WriteString(c.OutOrStdout(), "ok\n"+plan(r))
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newConfigShow(h config.Host) *cobra.Command {
	var t target
	c := &cobra.Command{
		Use:   "show [FILE [-- COMMAND ARG...]]",
		Short: "Show the settings that are in force in a running sidecar, or would be by a file",
		Long: `Show the settings that are in force in a running sidecar, or would be by a file: each with where it comes from, and
without secrets. What it prints can be a file of settings again, but for the secrets.

` + exitHelp,
		RunE: func(c *cobra.Command, args []string) error {
			shown, err := t.settings(c, args, h)
			if err != nil {
				return err
			}
			if t.json {
				return printJSON(c.OutOrStdout(), shown)
			}
			for _, note := range shown.Notes {
				fmt.Fprintf(c.OutOrStdout(), "# note: %s\n", note)
			}
			_, err = io.WriteString(c.OutOrStdout(), shown.Text)
			return err
		},
	}
	t.register(c)
	return c
}

// settings returns those of the file that was named, or else those in force in a sidecar that runs.
func (t *target) settings(c *cobra.Command, args []string, h config.Host) (admin.Config, error) {
	if len(args) > 0 {
		r, err := resolveFile(c, args, h)
		return admin.Config{Text: r.Shown.Text, Settings: r.Shown.Settings, From: r.Shown.From, Notes: r.Shown.Notes}, err
	}
	client, err := t.find(h)
	if err != nil {
		return admin.Config{}, err
	}
	return client.Config(c.Context())
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON schema of the file, for editors",
		Long: `Print a JSON schema (2020-12) of the file, for editors: # yaml-language-server: $schema=PATH as the file's first line.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(config.Schema())
			return err
		},
	}
}

// resolveFile judges FILE, with the command behind -- if there is one.
func resolveFile(c *cobra.Command, args []string, h config.Host) (config.Run, error) {
	files, command := args, []string(nil)
	if dash := c.ArgsLenAtDash(); dash >= 0 {
		files, command = args[:dash], args[dash:]
	}
	if len(files) != 1 {
		return config.Run{}, usageError{errors.New("one FILE is needed; the worker's command comes after --")}
	}
	content, err := readFile(files[0])
	if err != nil {
		return config.Run{}, err
	}
	s := config.Defaults()
	s.Typed = []string{"--config", files[0]}
	s.Read(files[0], content)
	s.SetCommand(command)
	return s.Resolve(h)
}

// plan says in a few lines what settings would run.
func plan(r config.Run) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-8s  %s\n", label, fmt.Sprintf(format, args...))
	}
	line("name", "%s, mode %s", r.Name, r.Mode)
	for _, f := range r.Fronts {
		line("front", "%s", f.Listen)
	}
	if len(r.Command) > 0 {
		words := config.RedactCommand(r.Command)
		for i, word := range words {
			words[i] = config.Quote(word)
		}
		as := ""
		if r.User.Name != "" {
			as = " as " + r.User.Name
		}
		line("worker", "%s (engine %s)%s", strings.Join(words, " "), r.Engine, as)
	} else {
		line("worker", "somebody else's (engine %s)", r.Engine)
	}
	if r.Upstream.IsZero() {
		line("upstream", "a free port, anew each life")
	} else {
		line("upstream", "%s", r.Upstream)
	}
	line("ready", "when %s passes, at the latest %s after the last sign of progress", r.Probe, span(r.StartDeadline))
	if r.HTTP != "" {
		line("http", "%s", r.HTTP)
	}
	line("control", "%s", r.Control)
	line("state", "%s", r.State)
	for _, note := range r.Notes {
		line("note", "%s", note)
	}
	return b.String()
}
