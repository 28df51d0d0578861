package daemon

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The test binary is the program that an upgrade is asked for: copied under another name, it says of itself what that name
// means.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "version" && os.Args[2] == "--arena" {
		tell()
		return
	}
	os.Exit(m.Run())
}

func tell() {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	told := Told{Version: "2.0", Keeper: true, Formats: OwnFormats()}
	switch filepath.Base(path) {
	case "fit":
		if len(os.Environ()) > 0 {
			panic("it got an environment")
		}
	case "dies":
		fmt.Fprintln(os.Stderr, "no such flag")
		os.Exit(2)
	case "hangs":
		time.Sleep(time.Hour)
	case "babbles":
		fmt.Println(strings.Repeat("x", 10*mostTold))
		return
	case "keeperless":
		told.Keeper = false
	case "layout":
		told.Layout++
	case "sum":
		told.Sum++
	case "record":
		told.Record++
	case "page":
		told.Page++
	}
	json.NewEncoder(os.Stdout).Encode(told)
}

// copied is this binary under that name.
func copied(t *testing.T, dir, name string) string {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, name)
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOnlyAProgramThatCanGoOnInOurPlaceIsTaken(t *testing.T) {
	dir := t.TempDir()
	fit := copied(t, dir, "fit")
	text := func(name, text string) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	named := func(name string) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(dir, name)
			if err := os.Rename(fit, path); err != nil {
				t.Fatal(err)
			}
			fit = path
			return path
		}
	}
	mode := func(m os.FileMode) func(*testing.T) string {
		return func(t *testing.T) string {
			path := named("fit")(t)
			if err := os.Chmod(path, m); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(path, 0o755) })
			return path
		}
	}
	for _, test := range []struct {
		name string
		file func(*testing.T) string
		want string // in the refusal; empty: there is none
	}{
		{"fit", named("fit"), ""},
		{"a directory", func(*testing.T) string { return dir }, "no regular file"},
		{"a device", func(*testing.T) string { return os.DevNull }, "no regular file"},
		{"not executable", mode(0o644), "not executable (mode 0644)"},
		{"anybody may write", mode(0o757), "others may write to the file (mode 0757)"},
		{"our group may write", mode(0o775), ""},
		{"empty", text("empty", ""), "no program of Linux"},
		{"garbage", text("garbage", strings.Repeat("garbage\n", 1000)), "no program of Linux"},
		{"a script", text("script", "#!/bin/sh\necho '{\"keeper\":true}'\n"), "no program of Linux"},
		{"for another machine", func(t *testing.T) string {
			b, err := os.ReadFile(fit)
			if err != nil {
				t.Fatal(err)
			}
			b[18], b[19] = 8, 0 // EM_MIPS
			return text("mips", string(b))(t)
		}, "for another machine (EM_MIPS)"},
		{"truncated", func(t *testing.T) string {
			b, err := os.ReadFile(fit)
			if err != nil {
				t.Fatal(err)
			}
			return text("truncated", string(b[:len(b)/3]))(t)
		}, "no program of Linux: EOF"},
		{"it dies", named("dies"), "can't say what it is: exit status 2: no such flag"},
		{"it hangs", named("hangs"), "does not say what it is within 10s"},
		{"it babbles", named("babbles"), "does not say what it is: invalid character"},
		{"no keeper", named("keeperless"), "it has no keeper"},
		{"another layout", named("layout"), "version 2.0 lays out its memory in another way"},
		{"another layout of the same number", named("sum"), "lays out its memory in another way"},
		{"another record", named("record"), "lays out its memory in another way"},
		{"another page", named("page"), "lays out its memory in another way"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := os.Open(test.file(t))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			told, err := examine(t.Context(), file)
			switch {
			case test.want == "" && (err != nil || told.Version != "2.0"):
				t.Errorf("got %+v, %v; want it taken", told, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestAFileOfSomebodyElseIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := copied(t, t.TempDir(), "fit")
	for _, test := range []struct {
		uid, gid int
		mode     os.FileMode
		want     string
	}{
		{40001, 0, 0o755, "the file belongs to uid 40001"},
		{0, 40001, 0o775, "others may write"},
		{0, 40001, 0o755, ""},
	} {
		if err := os.Chown(path, test.uid, test.gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		err = trusted(file)
		file.Close()
		if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
			t.Errorf("%+v: got %v", test, err)
		}
	}
}
