package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"autoglm-sidecar/sockets/keeper"
	"autoglm-sidecar/supervisor/config"
	"autoglm-sidecar/supervisor/daemon"

	"github.com/spf13/pflag"
)

// settingsFlags registers the options of run, which fill s, and returns where --config goes.
func settingsFlags(f *pflag.FlagSet, s *config.Settings) (file *string) {
	f.SortFlags = false
	f.SetInterspersed(false) // else a forgotten -- would have the worker's options read as ours
	file = f.String("config", "", "`FILE` with settings; what an option says comes before what the file says")
	for _, flag := range config.Flags(s) {
		f.Var(flag.Value, flag.Name, flag.Help)
	}
	return file
}

// typed returns the flags that were set, as words to be typed again.
func typed(f *pflag.FlagSet) []string {
	var words []string
	f.Visit(func(flag *pflag.Flag) {
		values := []string{flag.Value.String()}
		if each, ok := flag.Value.(pflag.SliceValue); ok {
			values = each.GetSlice()
		}
		for _, value := range values {
			words = append(words, "--"+flag.Name, value)
		}
	})
	return words
}

// founding is what the first runner of a sidecar found on disk. Later ones go by it, and not by what lies there then.
type founding struct {
	File    []byte          `json:"file,omitempty"`
	Account *config.Account `json:"account,omitempty"` // that the worker runs as
	// OOMScore is our oom_score_adj, before we lowered it; 0 also where it can't be read.
	OOMScore int `json:"oom_score,omitempty"`
}

// resolve reads the file, if there is one, and judges all settings together; command is what stands behind --.
func resolve(s *config.Settings, file string, command []string, h config.Host) (config.Run, founding, error) {
	var found founding
	kept, err := keeper.Founding(func() ([]byte, error) {
		if err := found.look(*s, file, h); err != nil {
			return nil, err
		}
		return json.Marshal(found)
	})
	if err != nil {
		return config.Run{}, found, err
	}
	if err := json.Unmarshal(kept, &found); err != nil {
		return config.Run{}, found, fmt.Errorf("read what the sidecar was started with: %w", err)
	}
	if file != "" {
		s.Read(file, found.File)
	}
	s.SetCommand(command)
	if found.Account != nil {
		h.Account = func(string) (config.Account, error) { return *found.Account, nil }
	}
	r, err := s.Resolve(h)
	return r, found, err
}

// look finds what there is. Whom it can't find Resolve tells of.
func (f *founding) look(s config.Settings, file string, h config.Host) error {
	f.OOMScore = daemon.OOMScore()
	if file != "" {
		content, err := readFile(file)
		if err != nil {
			return err
		}
		f.File = content
		s.Read(file, content)
	}
	if s.User != "" && h.Account != nil {
		if account, err := h.Account(s.User); err == nil {
			f.Account = &account
		}
	}
	return nil
}

// readFile reads a file of settings, a little more than may be in it at most.
func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, usageError{fmt.Errorf("read the settings: %s: %w", name, errors.Unwrap(err))}
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, config.LargestFile+1))
	if err != nil {
		return nil, usageError{fmt.Errorf("read the settings: %s: %w", name, errors.Unwrap(err))}
	}
	return content, nil
}
