package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"autoglm-sidecar/supervisor/config"
	"autoglm-sidecar/supervisor/driver/child"
)

// The settings refuse what the driver would take out of a worker's environment, and nothing else. Neither knows the other.
func TestSettingsAndDriverAgreeOnWhatIsOurs(t *testing.T) {
	for name, ours := range map[string]bool{
		"NOTIFY_SOCKET": true, "LISTEN_FDS": true, "LISTEN_PID": true, "WATCHDOG_USEC": true, "CREDENTIALS_DIRECTORY": true, "FDSTORE": true,
		"MEMORY_PRESSURE_WATCH": true, "AUTOGLM_SIDECAR_LIFE": true, "PATH": false, "LISTEN": false, "NOTIFY_SOCKETS": false, "HF_TOKEN": false,
	} {
		if settings, driver := config.IsOurs(name), child.IsOurs(name); settings != ours || driver != ours {
			t.Errorf("settings take %s as ours: %v, the driver: %v, want %v", name, settings, driver, ours)
		}
	}
}

// The worker's user gets a directory for its socket, and is told where it can't come through.
func TestAWorkersUserGetsADirectoryForItsSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run a worker as somebody else")
	}
	dir, err := os.MkdirTemp("", "user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{Run: config.Run{Name: "a", Control: filepath.Join(dir, "a.sock"), User: config.Account{Name: "nobody", UID: 65534, GID: 65534}}}
	d.Upstream = config.Address{Network: "unix", Addr: d.WorkerSocket()}

	if err := d.ownSocketDir(); err == nil || !strings.Contains(err.Error(), "nobody may not go through "+dir+" (mode 0700)") {
		t.Errorf("below a closed directory: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the next life finds it there
		if err := d.ownSocketDir(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Dir(d.WorkerSocket()))
	if err != nil || info.Mode().Perm() != 0o700 || info.Sys().(*syscall.Stat_t).Uid != 65534 {
		t.Errorf("the directory is %v, %v", info, err)
	}

	if err := os.Remove(filepath.Dir(d.WorkerSocket())); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Dir(d.WorkerSocket())); err != nil {
		t.Fatal(err)
	}
	if err := d.ownSocketDir(); err == nil || !strings.Contains(err.Error(), "is no directory") {
		t.Errorf("a link in its place: %v", err)
	}
}
