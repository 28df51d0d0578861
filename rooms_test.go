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

	{"supervisor/cli", "supervisor/daemon supervisor/demo supervisor/sim supervisor/admin supervisor/config sockets/keeper"},

	// The only room where all others meet.
	{"supervisor/daemon", `supervisor/admin supervisor/config supervisor/ledger supervisor/driver/child supervisor
		health health/rules health/probe sockets sockets/arena sockets/gate sockets/http1 sockets/keeper sockets/kernel sockets/relay`},

	// They judge the program from outside, so they share nothing with it that could be wrong in both.
	{"supervisor/demo", "supervisor/check"},
	{"supervisor/check", ""},
	{"supervisor/check/bench", ""},
	{"supervisor/sim", ""},

	{"supervisor/admin", ""},
	// It judges words for people, and those of a window are the timetable's: a pure leaf, that config would else repeat.
	{"supervisor/config", "health/timetable"},
	{"supervisor/ledger", "supervisor health"},
	{"supervisor/driver/child", "supervisor health/probe sockets/tcpdiag"},
	{"supervisor", "health"},

	// The only room that knows both sides: what instruments say, and what it means.
	{"health/rules", "health health/probe"},
	{"health", ""},
	{"health/probe", "lastwords"},
	{"health/timetable", ""},

	// Where what is known of devices comes from: a program, or another exporter.
	{"gpu/reader", "gpu lastwords"},
	{"gpu/exporter", "gpu lastwords"},
	// What a device's memory says. The simulated leaks are what the forecast is judged by.
	{"gpu/leaksim/tables", "gpu/leaksim"},
	{"gpu/leaksim", "gpu"},
	{"gpu", ""},

	{"lastwords", ""},

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
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Imports,CgoFiles,CFiles,SFiles", "./...").Output()
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
		if len(p.SFiles) > 0 && name != "sockets/keeper" {
			t.Errorf("%s has assembly; only sockets/keeper may", p.ImportPath)
		}
	}
}
