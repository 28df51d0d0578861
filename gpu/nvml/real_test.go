//go:build cgo && linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"autoglm-sidecar/gpu"
)

// NVIDIA's own library, on a machine without a driver: what a sidecar meets that was started on the wrong node.
func TestTheRealLibraryWithoutADriver(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		t.Skip("this machine has NVIDIA's driver; the test is of one without")
	}
	get := exec.Command("../../tools/real-nvml.sh")
	var why bytes.Buffer
	get.Stderr = &why
	out, err := get.Output()
	if err != nil {
		t.Skipf("Debian's libnvidia-ml1 can't be downloaded: %v\n%s", err, why.String())
	}
	bytes, err := os.ReadFile(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(built, "real.so.1") // where everybody may read it
	if err := os.WriteFile(library, bytes, 0o644); err != nil {
		t.Fatal(err)
	}
	w := world{library: library}
	if os.Geteuid() == 0 {
		// For root the library makes a device node.
		const nobody = 65534
		w.as = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	p := w.start(t)
	p.order(watch("GPU-a"))
	if s := p.system(); s.Library != gpu.NoDriver || !strings.Contains(s.Detail, "the driver is not loaded") {
		t.Errorf("it says %+v; want %s", s, gpu.NoDriver)
	}
	before := p.cpu()
	from := len(p.seen)
	for range 7 { // seconds: a retry is among them
		p.await("a sign of life", func(l gpu.Line) bool { return l.Alive })
	}
	if busy := (p.cpu() - before).Seconds() / 7; busy > 0.05 {
		t.Errorf("it takes %.0f %% of a processor", 100*busy)
	}
	for _, l := range p.seen[from:] {
		if !l.Alive {
			t.Errorf("besides signs of life it says %+v", l)
		}
	}
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		t.Error("there is a device node now")
	}
	_ = p.in.Close()
	if status := p.exit(patience); status != exitWell {
		t.Errorf("it exits %d: %s", status, p.stderr.String())
	}
}
