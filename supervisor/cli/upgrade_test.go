package cli

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"autoglm-sidecar/supervisor/admin"
)

func TestUpgrade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "v2")
	if err := os.WriteFile(file, []byte("v2"), 0o755); err != nil {
		t.Fatal(err)
	}
	trial := func(s *admin.Status) {
		s.Version, s.Upgrades = "v2", admin.Upgrades{Tried: 1, OnTrial: true, TrialLeftMS: 29_900}
	}
	stays := func(s *admin.Status) { s.Version, s.Upgrades = "v2", admin.Upgrades{Tried: 1} }
	goneBack := func(s *admin.Status) {
		s.Upgrades = admin.Upgrades{Tried: 1, Undone: 1, LastError: "its runner panicked (exit status 2)"}
	}
	old := inService().Version
	for _, c := range []struct {
		name  string
		words []string
		after func(*admin.Status)
		want  said
		files []string
	}{
		{
			"to what lies where it came from",
			[]string{"upgrade"},
			trial,
			said{exitDone, "default goes on as v2, PID 100; if it dies within 29 s, " + old + " comes back\n", ""},
			[]string{"its own"},
		},
		{
			"to a file, and waited for",
			[]string{"upgrade", "--wait", file},
			stays,
			said{exitDone, "default goes on as v2, PID 100\n", ""},
			[]string{"v2"},
		},
		{
			"undone",
			[]string{"upgrade", file},
			goneBack,
			said{exitFailed, "", program + ": the upgrade was undone: its runner panicked (exit status 2); default goes on as " + old + "\n"},
			[]string{"v2"},
		},
		{
			"undone, as JSON",
			[]string{"upgrade", "--json", file},
			goneBack,
			said{
				exitFailed, "{\n  \"from\": \"" + old + "\",\n  \"to\": \"v2\",\n  \"outcome\": \"undone\",\n" +
					"  \"error\": \"the upgrade was undone: its runner panicked (exit status 2)\",\n  \"keeper\": 100\n}\n",
				program + ": the upgrade was undone: its runner panicked (exit status 2); default goes on as " + old + "\n",
			},
			[]string{"v2"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{status: inService(), after: c.after}
			if got := say(t, running(t, f), c.words...); got != c.want {
				t.Errorf("got\n%+v\nwant\n%+v", got, c.want)
			}
			if !slices.Equal(f.files, c.files) {
				t.Errorf("the sidecar got %q, want %q", f.files, c.files)
			}
		})
	}
}

func TestAnUnfitProgramIsRefused(t *testing.T) {
	f := &fake{status: inService(), refuse: &admin.Refusal{Code: admin.Unfit, Message: "no upgrade: it has no keeper"}}
	want := said{exitRefused, "", program + ": ask for an upgrade: no upgrade: it has no keeper\n"}
	if got := say(t, running(t, f), "upgrade"); got != want {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}
