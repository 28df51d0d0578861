package keeper_test

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"autoglm-sidecar/sockets/keeper"
)

// Other ways to build: with a keeper as well, and without one.
var (
	stripped    = build{"stripped", "CGO_ENABLED=0", []string{"-trimpath", "-ldflags", "-s -w " + entryFlag}}
	unoptimized = build{"unoptimized", "CGO_ENABLED=0", []string{"-gcflags=autoglm-sidecar/...=-N -l", "-ldflags", entryFlag}}
	arm64       = build{"arm64", "GOARCH=arm64", []string{"-ldflags", entryFlag}}
	withoutFlag = build{"without the flag", "CGO_ENABLED=0", nil}
	external    = build{"external", "CGO_ENABLED=1", []string{"-race", "-ldflags", "-linkmode=external " + entryFlag}}
)

func TestEntryPoint(t *testing.T) {
	for _, b := range []build{plain, race, stripped, unoptimized, arm64} {
		t.Run(b.name, func(t *testing.T) {
			entry, err := keeper.EntryOf(b.program(t))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "entry point", entry, keeper.EntrySymbol)
		})
	}
	// The two mistakes that a build can make: the linker's word says nothing, EntryOf does.
	for _, b := range []build{withoutFlag, external} {
		t.Run(b.name, func(t *testing.T) {
			entry, err := keeper.EntryOf(b.program(t))
			if err != nil {
				t.Fatal(err)
			}
			if entry == keeper.EntrySymbol {
				t.Errorf("entry point: got %s, expected another", entry)
			}
			s := prepare(t, b, "nopage")
			s.start()
			s.awaitRunner(0)
			if info := s.ask("info", "info"); !strings.Contains(info, "build with make build") {
				t.Errorf("info: got %q, expected how to build", info)
			}
		})
	}
	if entry, err := keeper.EntryOf("/bin/sh"); err == nil {
		t.Errorf("entry point of a C program: got %q, expected an error", entry)
	}
}

func TestEachBuildHasAKeeper(t *testing.T) {
	for _, b := range []build{plain, race, stripped, unoptimized} {
		t.Run(b.name, func(t *testing.T) {
			s := launch(t, b)
			s.tell("panic")
			s.awaitRunner(2)
			s.tell("exit 7")
			check(t, "keeper", s.end(), "exit status 7")
		})
	}
}

// bareFunctions returns the functions of the bare files by name, with what stands above them.
func bareFunctions(t *testing.T) map[string]*ast.FuncDecl {
	t.Helper()
	files, err := filepath.Glob("bare_*.go")
	if err != nil {
		t.Fatal(err)
	}
	functions := map[string]*ast.FuncDecl{}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				functions[f.Name.Name] = f
			}
		}
	}
	if len(functions) < 30 {
		t.Fatalf("%d functions in %v: expected all of the keeper", len(functions), files)
	}
	return functions
}

func TestBareFunctionsNeedNoStackAndNoRaceDetector(t *testing.T) {
	for name, f := range bareFunctions(t) {
		for _, pragma := range []string{"//go:nosplit", "//go:norace"} {
			if f.Doc == nil || !slices.ContainsFunc(f.Doc.List, func(c *ast.Comment) bool { return c.Text == pragma }) {
				t.Errorf("%s lacks %s", name, pragma)
			}
		}
	}
}

// allowed are the functions that bare code may end up in: its own, and the stub that makes a system call.
var allowed = regexp.MustCompile(`^(autoglm-sidecar/sockets/keeper\.|syscall\.RawSyscall6$|internal/runtime/syscall/linux\.Syscall6$)`)

// The compiler puts calls into the runtime where nobody wrote one: for a bound that may fail, a pointer that is
// stored, a value that is cleared or goes to the heap. So the machine code is asked, of each build that is optimized (the
// others have calls for bounds that can't fail).
func TestBareCodeNeverCallsTheRuntime(t *testing.T) {
	calls := regexp.MustCompile(`^\s*bare_\w+\.go:\d+\s.*\b(?:CALL|BL|JMP|B)\s+(\S+)\(SB\)`)
	for _, b := range []build{plain, race, arm64} {
		t.Run(b.name, func(t *testing.T) {
			code, err := exec.Command("go", "tool", "objdump", "-s", `^autoglm-sidecar/sockets/keeper\.`, b.program(t)).Output()
			if err != nil {
				t.Fatal(err)
			}
			seen := 0
			for scan := bufio.NewScanner(bytes.NewReader(code)); scan.Scan(); {
				if call := calls.FindStringSubmatch(scan.Text()); call != nil {
					if seen++; !allowed.MatchString(call[1]) {
						t.Errorf("calls %s: %s", call[1], strings.TrimSpace(scan.Text()))
					}
				}
			}
			if seen < 30 {
				t.Errorf("found %d calls in bare code, expected many: does the test still read the disassembly?", seen)
			}
		})
	}
}

func TestArm64IsBuilt(t *testing.T) {
	file, err := elf.Open(arm64.program(t))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	check(t, "machine", file.Machine, elf.EM_AARCH64)
	c := exec.Command("go", "vet", "./...")
	c.Env = append(os.Environ(), "GOARCH=arm64")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("go vet: %v\n%s", err, out)
	}
}

func ExampleInfo_String() {
	fmt.Println(keeper.Info{Gen: 2, Keeper: 70, Absence: keeper.Present})
	fmt.Println(keeper.Info{Absence: keeper.SwitchedOff})
	fmt.Println(keeper.Info{})
	// Output:
	// runner 2 under keeper 70: streams survive the death of the runner
	// no keeper (AUTOGLM_SIDECAR_NO_KEEPER is set): streams end when this process dies
	// no keeper (this build lacks the entry point, build with make build): streams end when this process dies
}
