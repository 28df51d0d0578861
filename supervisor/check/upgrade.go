package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Upgraded is how an upgrade went, as `upgrade --json` tells.
type Upgraded struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Outcome string `json:"outcome"` // on_trial, kept or undone
	Error   string `json:"error"`
	Keeper  int    `json:"keeper"`
}

// Upgrade asks for an upgrade to a file by the command that people use, and returns when the new program answers. One that was
// refused or undone is an error.
func (s *Sidecar) Upgrade(ctx context.Context, file string, flags ...string) (Upgraded, error) {
	var u Upgraded
	out, err := s.Command(ctx, append([]string{"upgrade", "--json", file}, flags...)...)
	if err != nil {
		return u, err
	}
	if err := json.Unmarshal(out, &u); err != nil {
		return u, fmt.Errorf("read upgrade --json: %w", err)
	}
	return u, nil
}

// NextProgram is a file of its own with the same program, as a package's next version is one.
func (s *Sidecar) NextProgram() (string, error) {
	path := filepath.Join(s.dir, "next")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, copyProgram(s.program, path)
}

func copyProgram(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy the program: %w", err)
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return fmt.Errorf("copy the program: %w", err)
	}
	_, err = io.Copy(target, source)
	if err = errors.Join(err, target.Close()); err != nil {
		return fmt.Errorf("copy the program: %w", err)
	}
	return nil
}
