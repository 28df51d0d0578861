// The init of a machine that exists for one demonstration: it mounts what the sidecar looks at, brings up loopback, loads
// the kernel's modules that lie beside it, runs the demonstration, and switches the machine off. See tools/arm64.sh.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"unsafe"
)

func main() {
	err := perform()
	fmt.Println("INIT", verdict(err))
	syscall.Sync()
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

func verdict(err error) string {
	if err != nil {
		return "FAILED: " + err.Error()
	}
	return "PASSED"
}

func perform() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	if err := os.Chmod("/tmp", 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := bringUpLoopback(); err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	for _, name := range []string{"inet_diag.ko", "tcp_diag.ko", "unix_diag.ko"} {
		if err := load(filepath.Join("/modules", name)); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	c := exec.Command("/autoglm-sidecar", os.Args[1:]...)
	c.Env = []string{"PATH=/", "HOME=/tmp", "XDG_RUNTIME_DIR=/run"}
	c.Stdout, c.Stderr = plain{os.Stdout}, plain{os.Stderr}
	return c.Run()
}

// plain is no terminal, so nothing is painted.
type plain struct{ io.Writer }

// bringUpLoopback is `ip link set lo up`.
func bringUpLoopback() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	request := struct { // struct ifreq, netdevice(7)
		name  [16]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP | syscall.IFF_RUNNING}
	copy(request.name[:], "lo")
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}

// load loads a module; one that isn't there is part of this kernel.
func load(path string) error {
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	const finitModule = 273 // in the table that arm64 shares with all newer architectures
	empty := []byte{0}
	if _, _, errno := syscall.Syscall(finitModule, file.Fd(), uintptr(unsafe.Pointer(&empty[0])), 0); errno != 0 {
		return errno
	}
	return nil
}
