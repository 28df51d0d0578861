package daemon

import (
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
