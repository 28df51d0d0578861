package double

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The source lies in a directory of its own: beside a Go file, go would want to compile it into the package.
//
//go:embed library/libnvidia-ml.c
var source []byte

// Build compiles the library into dir and returns its path. old makes it lack what the library of an old driver lacks. It needs
// a C compiler, and NVML's header, which go-nvml's module has: so it works wherever go sees this module.
func Build(dir string, old bool) (library string, err error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("find NVML's header: %w\n%s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("find NVML's header: %w", err)
	}
	return BuildWith(filepath.Join(strings.TrimSpace(string(out)), "pkg", "nvml"), dir, old)
}

// BuildWith is Build where the directory of nvml.h is known.
func BuildWith(header, dir string, old bool) (library string, err error) {
	library = filepath.Join(dir, "libnvidia-ml.so.1")
	flags := []string{"-shared", "-fPIC", "-O1", "-Wall", "-pthread", "-Wl,-soname,libnvidia-ml.so.1", "-I" + header}
	if old {
		library = filepath.Join(dir, "libnvidia-ml-old.so.1")
		flags = append(flags, "-DOLD_DRIVER")
	}
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	c := exec.Command(cc, append(flags, "-x", "c", "-o", library, "-")...)
	c.Stdin = strings.NewReader(string(source))
	if said, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile the double: %w\n%s", err, said)
	}
	return library, nil
}
