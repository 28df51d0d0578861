package daemon

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/keeper"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"

	"golang.org/x/sys/unix"
)

// Formats are all that one program leaves to the next in memory. A program can go on in the place of this one if they are
// the same.
type Formats struct {
	Page   int    `json:"page"`       // version of what the keeper knows
	Layout int    `json:"layout"`     // of the arena
	Sum    uint32 `json:"layout_sum"` // what that number stands for
	Record int    `json:"record"`     // version of the machine's record
}

// OwnFormats are this program's.
func OwnFormats() Formats {
	return Formats{Page: keeper.PageVersion, Layout: arena.Layout, Sum: arena.LayoutSum(), Record: supervisor.RecordVersion}
}

// Told is what a program says of itself when it is asked with `version --arena`.
type Told struct {
	Version string `json:"version"`
	Keeper  bool   `json:"keeper"`
	Formats
}

// unfit says why the program that told this can't go on in our place; empty: it can.
func (t Told) unfit() string {
	switch ours := OwnFormats(); {
	case !t.Keeper:
		return "it has no keeper: build it with make build"
	case t.Formats != ours:
		return fmt.Sprintf("version %s lays out its memory in another way (page %d, layout %d (%08x), record %d; here page %d, layout %d (%08x), record %d): stop this sidecar and start that one",
			t.Version, t.Page, t.Layout, t.Sum, t.Record, ours.Page, ours.Layout, ours.Sum, ours.Record)
	}
	return ""
}

// Upgrade implements admin.Backend.
func (b backend) Upgrade(ctx context.Context, r admin.UpgradeRequest) (admin.Upgrade, func(), error) {
	none := func() {}
	page := b.arena.Page()
	switch {
	case b.keeper.Gen == 0:
		return admin.Upgrade{}, none, &admin.Refusal{Code: admin.NoKeeper, Message: "no upgrade: " + b.keeper.String()}
	case page.IsLeaving():
		return admin.Upgrade{}, none, &admin.Refusal{Code: admin.Leaving, Message: "no upgrade: the sidecar is leaving"}
	case !b.upgrading.TryLock():
		return admin.Upgrade{}, none, &admin.Refusal{Code: admin.Busy, Message: "no upgrade: another one is under way"}
	}
	defer b.upgrading.Unlock()
	file := r.File
	if file == nil {
		own, err := openOwn()
		if err != nil {
			return admin.Upgrade{}, none, &admin.Refusal{Code: admin.Unfit, Message: "no upgrade: " + err.Error()}
		}
		defer own.Close()
		file = own
	}
	told, err := examine(ctx, file)
	if err != nil {
		return admin.Upgrade{}, none, &admin.Refusal{Code: admin.Unfit, Message: "no upgrade: " + err.Error()}
	}
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, keeper.EndFixed)
	if err != nil {
		return admin.Upgrade{}, none, fmt.Errorf("keep the program: %w", err)
	}
	begin := func() {
		if err := keeper.Upgrade(page, fd); err != nil {
			unix.Close(fd)
			b.Log.Error("the upgrade does not begin", "error", err)
		}
	}
	return admin.Upgrade{Number: page.Upgraded(monotonic()).Tried + 1, From: b.Version, To: told.Version}, begin, nil
}

// upgrades is what has come of them, for people.
func (d *daemon) upgrades() admin.Upgrades {
	u := d.arena.Page().Upgraded(monotonic())
	return admin.Upgrades{Tried: u.Tried, Undone: u.Undone, OnTrial: u.OnTrial, TrialLeftMS: u.Left.Milliseconds(), LastError: u.Why}
}

// tellUpgrade logs what an upgrade has to do with this runner being here.
func (d *daemon) tellUpgrade() {
	switch u := d.arena.Page().Upgraded(monotonic()); {
	case d.keeper.Gen == 0:
	case u.OnTrial:
		d.Log.Warn("on trial after an upgrade: any end of this runner brings the program before it back", "version", d.Version, "left", u.Left.String())
	case u.Failed == d.keeper.Gen-1 && u.Failed != 0:
		d.Log.Error("an upgrade was undone: the program before it goes on", "version", d.Version, "reason", u.Why)
	}
}

// openOwn opens what lies now where this program was started from: a package's new version.
func openOwn() (*os.File, error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	return os.Open(strings.TrimSuffix(path, " (deleted)"))
}

// examine finds out whether a file is a program that can go on in our place.
func examine(ctx context.Context, file *os.File) (Told, error) {
	if err := trusted(file); err != nil {
		return Told{}, err
	}
	if err := executable(file); err != nil {
		return Told{}, err
	}
	told, err := ask(ctx, file)
	if err != nil {
		return Told{}, err
	}
	if why := told.unfit(); why != "" {
		return told, errors.New(why)
	}
	return told, nil
}

const (
	byOthers = 0o002
	byGroup  = 0o020
	byAny    = 0o111
)

// trusted refuses a file that somebody else than root and we could change: it is about to be what we are.
func trusted(file *os.File) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return fmt.Errorf("look at the file: %w", err)
	}
	switch uid, gid := os.Geteuid(), os.Getegid(); {
	case stat.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("it is no regular file")
	case stat.Uid != 0 && int(stat.Uid) != uid:
		return fmt.Errorf("the file belongs to uid %d: it has to be root's, or that of uid %d, as which this sidecar runs", stat.Uid, uid)
	case stat.Mode&byOthers != 0, stat.Mode&byGroup != 0 && stat.Gid != 0 && int(stat.Gid) != gid:
		return fmt.Errorf("others may write to the file (mode %04o); chmod go-w it", stat.Mode&0o7777)
	case stat.Mode&byAny == 0:
		return fmt.Errorf("the file is not executable (mode %04o)", stat.Mode&0o7777)
	}
	return nil
}

// machines are those that we are built for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// executable refuses what is no program for this machine before anything of it is run. A script would be executed, but has
// no keeper in front.
func executable(file *os.File) error {
	program, err := elf.NewFile(file)
	if err != nil {
		return fmt.Errorf("it is no program of Linux: %w", err)
	}
	if program.Machine != machines[runtime.GOARCH] {
		return fmt.Errorf("it is a program for another machine (%v)", program.Machine)
	}
	return nil
}

// Bounds of a question to a program.
const (
	askProgram = 10 * time.Second
	mostTold   = 64 << 10
)

// ask runs the program once, by its descriptor, as it will be run, and lets it say what it is. It gets nothing of ours.
func ask(ctx context.Context, file *os.File) (Told, error) {
	ctx, cancel := context.WithTimeout(ctx, askProgram)
	defer cancel()
	runtime.LockOSThread() // whose end would be the program's
	defer runtime.UnlockOSThread()
	c := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", file.Fd()), "version", "--arena")
	c.Env, c.Dir, c.WaitDelay = []string{}, "/", time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return unix.Kill(-c.Process.Pid, unix.SIGKILL) }
	var out, words bounded
	c.Stdout, c.Stderr = &out, &words
	err := c.Run()
	if ctx.Err() != nil {
		return Told{}, fmt.Errorf("it does not say what it is within %v", askProgram)
	}
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(words.String()), "\n")
		return Told{}, fmt.Errorf("it can't say what it is: %w: %.200s", err, first)
	}
	var told Told
	if err := json.Unmarshal(out.Bytes(), &told); err != nil {
		return Told{}, fmt.Errorf("it does not say what it is: %w", err)
	}
	return told, nil
}

// bounded keeps the beginning of what is written.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, mostTold-b.Len()))])
	return len(p), nil
}
