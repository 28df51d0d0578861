package cli

import (
	"io"

	"autoglm-sidecar/supervisor/sim"

	"github.com/spf13/cobra"
)

func newSim(stderr io.Writer) *cobra.Command {
	o := sim.DefaultOptions()
	c := &cobra.Command{
		Use:   "sim --listen ADDR",
		Short: "Be a worker that computes nothing and misbehaves on request, for tests and the demonstration",
		Long: `Be a worker that computes nothing and misbehaves on request, for tests and the demonstration. It answers as vLLM
does, byte for byte where clients look, and says in each answer that it is simulated. Each fault has a flag; at run
time POST a JSON object to /sim/faults. With --gpu-state it plays a worker's GPU memory for a double of NVIDIA's
library; at run time POST a JSON object to /sim/gpu.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Output = c.OutOrStdout()
			return sim.Run(c.Context(), o, newLog(stderr))
		},
	}
	c.Flags().SortFlags = false
	sim.RegisterFlags(c.Flags(), &o)
	return c
}
