package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "autoglm-sidecar"

// rooms is the whole of who may import whom: each package of ours, from the top down, with the packages of ours that
// it may import. It is changed on purpose or not at all. A package that imports none is a leaf.
var rooms = []struct {
	name    string
	imports string
}{
	{"", "supervisor/cli"},

	{"supervisor/cli", "gpu supervisor/daemon supervisor/demo supervisor/sim supervisor/admin supervisor/config sockets/keeper"},

	// The only room where all others meet.
	{"supervisor/daemon", `supervisor/admin supervisor/config supervisor/ledger supervisor/driver/child supervisor
		health health/rules health/probe health/probe/lastwords health/timetable gpu gpu/exporter gpu/reader gpu/watch sockets sockets/arena sockets/gate sockets/http1 sockets/keeper sockets/kernel sockets/relay`},

	// They judge the program from outside, so they share nothing with it that could be wrong in both.
	{"supervisor/demo", "supervisor/check"},
	{"supervisor/check", ""},
	{"supervisor/check/bench", ""},
	// It plays memory in the file of NVML's double; what it shares with the reader of that is a unit.
	{"supervisor/sim", "gpu/nvml/double gpu"},

	{"supervisor/admin", ""},
	// It judges words for people, and those of a window are the timetable's: a pure leaf, that config would else repeat.
	{"supervisor/config", "health/timetable"},
	{"supervisor/ledger", "supervisor health"},
	{"supervisor/driver/child", "supervisor health/probe sockets/tcpdiag"},
	{"supervisor", "health"},

	// The only room that knows both sides: what instruments say, and what it means.
	{"health/rules", "health health/probe health/timetable gpu"},
	{"health", ""},
	{"health/probe", "health/probe/lastwords"},
	{"health/timetable", ""},

	// Where what is known of devices comes from: a program, or another exporter.
	{"gpu/reader", "gpu health/probe/lastwords"},
	{"gpu/exporter", "gpu health/probe/lastwords"},
	// What a device's memory says. The simulated leaks are what the forecast is judged by.
	{"gpu/leaksim/tables", "gpu/leaksim"},
	{"gpu/leaksim", "gpu"},
	{"gpu/watch", "gpu"},
	// A program of its own, which speaks with ours in the lines of gpu. The double is what its tests let it read.
	{"gpu/nvml", "gpu"},
	{"gpu/nvml/double", "gpu"},
	{"gpu", ""},

	// How a program that was run has ended, and what it said last: a leaf, for all that run one.
	{"health/probe/lastwords", ""},

	// supervisor never sees a socket, and sockets never see the supervisor: a life is a number there.
	{"sockets", "sockets/keeper sockets/tcpdiag"},
	{"sockets/relay", "sockets/arena sockets/gate sockets/http1 sockets/kernel sockets/loop sockets/openai sockets/sse"},
	{"sockets/kernel/fake", "sockets/kernel sockets/loop"},
	{"sockets/loop", "sockets/kernel"},
	{"sockets/kernel", "sockets/keeper"},
	{"sockets/arena", "sockets/http1 sockets/keeper sockets/openai sockets/sse"},
	{"sockets/keeper", ""},
	{"sockets/gate", ""},
	{"sockets/http1", ""},
	{"sockets/openai", "sockets/sse"},
	{"sockets/sse", ""},
	{"sockets/tcpdiag", ""},
}

// mayBeUnsafe are the packages that may import unsafe, and what for.
var mayBeUnsafe = map[string]string{
	"sockets/arena":  "memory that outlives us",
	"sockets/keeper": "it runs where there is no runtime",
	"sockets/kernel": "system calls that take addresses",
}

// mayUseCgo are the packages that may import what is made of C, and why. They are programs of their own: ours would be linked
// externally and lose its entry point.
var mayUseCgo = map[string]string{
	"gpu/nvml": "NVIDIA's library is C, and can end the process that calls it",
}

// ofC are the modules of others that use cgo.
var ofC = []string{"github.com/NVIDIA/go-nvml"}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath string
	Name       string
	Imports    []string
	CgoFiles   []string
	CFiles     []string
	SFiles     []string
}

// listPackages asks go for all packages. It reads the directories, too: so go test knows what the answer depends on, and
// doesn't repeat an old verdict.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Imports,CgoFiles,CFiles,SFiles", "./...")
	list.Env = append(list.Environ(), "CGO_ENABLED=1") // or what has cgo would be no package
	out, err := list.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// room is the name of a package of ours in the table; ok is false for anybody else's.
func room(path string) (name string, ok bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestImportsPointDown(t *testing.T) {
	allowed := map[string][]string{}
	for _, r := range rooms {
		allowed[r.name] = strings.Fields(r.imports)
	}
	seen := map[string]bool{}
	for _, p := range listPackages(t) {
		name, _ := room(p.ImportPath)
		may, listed := allowed[name]
		if !listed {
			t.Errorf("%s is in no line of the table: which packages may it import, and who may import it?", p.ImportPath)
			continue
		}
		seen[name] = true
		for _, imported := range p.Imports {
			if of, ours := room(imported); ours && !slices.Contains(may, of) {
				t.Errorf("%s imports %s, and may import %q", p.ImportPath, imported, may)
			}
		}
	}
	for _, r := range rooms {
		if !seen[r.name] {
			t.Errorf("the table names %q, which is no package", r.name)
		}
	}
}

// The table's own direction: whoever is imported stands below.
func TestTheTableIsOrdered(t *testing.T) {
	above := map[string]bool{}
	for _, r := range rooms {
		for imported := range strings.FieldsSeq(r.imports) {
			if above[imported] || imported == r.name {
				t.Errorf("%q may import %q, which stands above it", r.name, imported)
			}
			if strings.HasPrefix(r.name, "sockets") && strings.HasPrefix(imported, "supervisor") {
				t.Errorf("%q may import %q: sockets never see the supervisor", r.name, imported)
			}
		}
		above[r.name] = true
	}
}

func TestUnsafeAndCgoAreKeptOut(t *testing.T) {
	for _, p := range listPackages(t) {
		name, _ := room(p.ImportPath)
		if slices.Contains(p.Imports, "unsafe") && mayBeUnsafe[name] == "" {
			t.Errorf("%s imports unsafe; only these may: %v", p.ImportPath, mayBeUnsafe)
		}
		if len(p.CgoFiles)+len(p.CFiles) > 0 || slices.Contains(p.Imports, "C") {
			t.Errorf("%s uses cgo: the program would be linked externally and lose its entry point", p.ImportPath)
		}
		for _, imported := range p.Imports {
			if isOfC(imported) && mayUseCgo[name] == "" {
				t.Errorf("%s imports %s, which uses cgo; only these may: %v", p.ImportPath, imported, mayUseCgo)
			}
			if of, ours := room(imported); ours && mayUseCgo[of] != "" {
				t.Errorf("%s imports %s, which uses cgo: nobody may", p.ImportPath, imported)
			}
		}
		if mayUseCgo[name] != "" && p.Name != "main" {
			t.Errorf("%s may use cgo, so it must be a program of its own", p.ImportPath)
		}
		if len(p.SFiles) > 0 && name != "sockets/keeper" {
			t.Errorf("%s has assembly; only sockets/keeper may", p.ImportPath)
		}
	}
}

func isOfC(path string) bool {
	return slices.ContainsFunc(ofC, func(module string) bool { return path == module || strings.HasPrefix(path, module+"/") })
}

// What the program is linked of, through whomever it comes.
func TestTheProgramHasNoCgoInIt(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}} {{len .CgoFiles}}{{end}}", ".")
	list.Env = append(list.Environ(), "CGO_ENABLED=1")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for line := range strings.Lines(string(out)) {
		path, cgo, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		packages++
		if of, _ := room(path); isOfC(path) || mayUseCgo[of] != "" {
			t.Errorf("the program contains %s", path)
		}
		if cgo != "0" {
			t.Errorf("the program contains %s, which has cgo in it", path)
		}
	}
	if packages < 20 {
		t.Errorf("the program is said to contain %d packages only:\n%s", packages, out)
	}
}
