package admin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const askEnv = "ADMIN_TEST_ASK" // path of a control socket: the test binary asks there and prints what it is told

func TestMain(m *testing.M) {
	path := os.Getenv(askEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	_, err := NewClient(path).Status(context.Background())
	fmt.Println("status:", err)
	_, err = NewClient(path).Restart(context.Background(), RestartRequest{})
	fmt.Println("restart:", err)
	own, err := os.Open("/etc/passwd") // that anybody may read
	if err == nil {
		_, err = NewClient(path).Upgrade(context.Background(), own)
	}
	fmt.Println("upgrade:", err)
}

// askAs runs this test binary as somebody else against a control socket.
func askAs(t *testing.T, path string, uid, gid uint32) string {
	t.Helper()
	// By /proc: the path of the binary may lead through a directory that only root can enter.
	c := exec.CommandContext(t.Context(), "/proc/self/exe")
	c.Env = append(os.Environ(), askEnv+"="+path)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("ask as uid %d: %v: %s", uid, err, out)
	}
	return string(out)
}

func TestRealProcessesOfOtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	const owner, member, group, stranger = 40001, 40002, 40003, 40004
	f := newFake()
	path := serveFake(t, f, Options{Owner: new(owner)})
	if err := os.Chmod(strings.TrimSuffix(path, "/run/a.sock"), 0o755); err != nil { // let others in
		t.Fatal(err)
	}
	if err := os.Chown(path, owner, group); err != nil {
		t.Fatal(err)
	}
	const done = "<nil>\n"
	for _, c := range []struct {
		who             string
		uid, gid        uint32
		status, restart string
	}{
		{"the owner", owner, owner, done, done},
		{"a member of the group", member, group, done, "uid 40002 may look and not act"},
		{"a stranger", stranger, stranger, "permission denied", "permission denied"},
		{"root", 0, 0, done, done},
	} {
		out := askAs(t, path, c.uid, c.gid)
		status, rest, _ := strings.Cut(strings.TrimPrefix(out, "status: "), "restart: ")
		restart, upgrade, _ := strings.Cut(rest, "upgrade: ")
		if !strings.Contains(status, c.status) || !strings.Contains(restart, c.restart) || !strings.Contains(upgrade, c.restart) {
			t.Errorf("%s gets\n%swant status %q, restart and upgrade %q", c.who, out, c.status, c.restart)
		}
	}
	var by []string
	for _, r := range f.requests() {
		by = append(by, r.By)
	}
	if got := strings.Join(by, ", "); got != "uid 40001, uid 0" {
		t.Errorf("the backend was asked by %s, want the owner and root", got)
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.upgrades, []string{"uid 40001: " + string(passwd), "uid 0: " + string(passwd)}; !slices.Equal(got, want) {
		t.Errorf("upgrades were asked for: %q, want %q", got, want)
	}
}
