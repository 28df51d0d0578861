package sim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/nvml/double"
)

// driver is the double of NVIDIA's library in a program that says what the GPU shows.
type driver struct {
	t       *testing.T
	ask     io.WriteCloser
	answers *bufio.Reader
}

func newDriver(t *testing.T, state string) *driver {
	t.Helper()
	dir := t.TempDir()
	library, err := double.Build(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "look")
	source := filepath.Join("..", "..", "gpu", "nvml", "double", "testdata", "look.c")
	if said, err := exec.Command("cc", "-o", program, source, "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	look := exec.Command(program, library)
	look.Env = append(os.Environ(), double.Variable+"="+state)
	d := &driver{t: t}
	if d.ask, err = look.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := look.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := look.Start(); err != nil {
		t.Fatal(err)
	}
	d.answers = bufio.NewReader(out)
	t.Cleanup(func() { d.ask.Close(); look.Wait() })
	return d
}

// shows is the used MiB and who is listed with how many: "1500: 17=1000 18=500".
func (d *driver) shows() string {
	d.t.Helper()
	io.WriteString(d.ask, "\n")
	answer, err := d.answers.ReadString('\n')
	if err != nil {
		d.t.Fatal(err)
	}
	used, list, _ := strings.Cut(strings.TrimSpace(answer), ":")
	var said strings.Builder
	said.WriteString(inMiB(used) + ":")
	for _, process := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		pid, bytes, _ := strings.Cut(process, "=")
		said.WriteString(" " + pid + "=" + inMiB(bytes))
	}
	return said.String()
}

func inMiB(bytes string) string {
	n, err := strconv.ParseInt(bytes, 10, 64)
	if err != nil {
		return bytes
	}
	return strconv.FormatInt(n/mib, 10)
}

// await asks until the GPU shows what is wanted.
func (d *driver) await(format string, operands ...any) {
	d.t.Helper()
	want := fmt.Sprintf(format, operands...)
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		got := d.shows()
		if got == want {
			return
		}
		if time.Since(began) > patience {
			d.t.Fatalf("the GPU shows %q, want %q", got, want)
		}
	}
}

func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.exit()
}

// TestMemoryOfLives: a worker that is killed isn't listed any more; its memory stays used for a while, and the next life, which
// begins meanwhile, has no use of it.
func TestMemoryOfLives(t *testing.T) {
	state := filepath.Join(t.TempDir(), "gpu")
	card := []string{"--gpu-state", state, "--gpu-total", "4000", "--gpu-model", "1500"}
	const release = 500 * time.Millisecond
	first := started(t, append(card, "--gpu-release", release.String())...)
	d := newDriver(t, state)
	d.await("1500: %d=1500", first.cmd.Process.Pid)
	first.kill()
	d.await("1500:")
	gone := time.Now()
	d.await("0:")
	if took := time.Since(gone); took < release/4 { // it was seen a tick before its end, or longer on a busy machine
		t.Errorf("its memory was free after %v, want %v", took, release)
	}

	second := started(t, append(card, "--gpu-release", "1h")...)
	second.kill()
	third := started(t, card...)
	d.await("3000: %d=1500", third.cmd.Process.Pid)
	fourth := spawn(t, card...)
	if line := fourth.line("out of memory"); !strings.Contains(line, "tried to allocate 1500.00 MiB; of 4000 MiB 1000.00 are free") {
		t.Errorf("it said %q", line)
	}
	if got := fourth.exit(); got != "exit status 1" {
		t.Errorf("ended with %q", got)
	}
	third.signal(syscall.SIGTERM)
	third.exit()
	d.await("1500:") // it gave back its own at once; the second's are held on to
}

// TestOrphanKeepsMemory: the child has the memory, and goes on having it when the worker is killed. Its own end is what counts.
func TestOrphanKeepsMemory(t *testing.T) {
	const release = 500 * time.Millisecond
	state := filepath.Join(t.TempDir(), "gpu")
	p := started(t, "--gpu-state", state, "--gpu-model", "1500", "--gpu-pid", "child", "--gpu-release", release.String(),
		"--children", "2", "--children-hold", "1h")
	children := p.children()
	for _, child := range children {
		t.Cleanup(func() { syscall.Kill(child, syscall.SIGKILL) })
	}
	d := newDriver(t, state)
	_, listed, _ := strings.Cut(d.shows(), ": ")
	pid, _ := strconv.Atoi(strings.TrimSuffix(listed, "=1500"))
	if len(children) != 2 || pid != children[0] && pid != children[1] {
		t.Fatalf("the GPU lists %q, the children are %v", listed, children)
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err != nil || string(name) != "EngineCore\n" {
		t.Errorf("its name is %q, %v", name, err)
	}
	p.kill()
	time.Sleep(release) // the memory's own time, were it the worker's
	d.await("1500: %d=1500", pid)
	syscall.Kill(pid, syscall.SIGKILL)
	d.await("1500:")
	d.await("0:")
}

// TestWhoIsListed: a driver that counts PIDs in another namespace, and one that tells none.
func TestWhoIsListed(t *testing.T) {
	for _, listed := range []Listed{ListForeign, ListNone} {
		state := filepath.Join(t.TempDir(), "gpu")
		p := started(t, "--gpu-state", state, "--gpu-model", "10", "--gpu-pid", string(listed))
		d := newDriver(t, state)
		if listed == ListNone {
			d.await("10:")
		} else {
			d.await("10: %d=10", p.cmd.Process.Pid+1<<22)
		}
		p.kill()
		d.await("0:")
	}
}

// owned is the memory of the first process in the file.
func owned(t *testing.T, state string) gpu.Bytes {
	t.Helper()
	s, err := double.Read(state)
	if err != nil {
		t.Fatal(err)
	}
	return s.GPUs[0].Owned[0].Bytes
}

// TestGrowth: the model comes while the worker loads, and the leak's clock can be faster than ours.
func TestGrowth(t *testing.T) {
	state := filepath.Join(t.TempDir(), "gpu")
	synctest.Test(t, func(t *testing.T) {
		g := defaultGPU()
		g.State, g.Model, g.Leak, g.Pace = state, 1000, 4, 600 // 40 MiB a second
		failed := make(chan error, 1)
		d, err := newDevice(g, time.Second, os.Getpid(), failed)
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		go d.run(stop)
		defer close(stop)
		about := func(when string, want gpu.Bytes) {
			t.Helper()
			time.Sleep(time.Millisecond) // the ticks of this moment are over
			if got := owned(t, state); got < (want-5)*mib || got > (want+5)*mib {
				t.Errorf("%s it has %d MiB, want %d", when, got/mib, want)
			}
		}
		turn := func(patch string) {
			t.Helper()
			if _, err := d.turn([]byte(patch)); err != nil {
				t.Error(err)
			}
		}
		about("at the start", 0)
		time.Sleep(500 * time.Millisecond)
		about("half way through loading", 500)
		time.Sleep(500 * time.Millisecond)
		about("loaded", 1000)
		time.Sleep(2500 * time.Millisecond)
		about("a while later", 1100)
		turn(`{"leak":0}`)
		time.Sleep(time.Second)
		about("without a leak", 1100)
		turn(`{"leak":40,"step":300}`)
		about("after a step", 1400)
		time.Sleep(time.Second)
		about("with another leak", 1800)
		select {
		case err := <-failed:
			t.Error(err)
		default:
		}
		turn(`{"leak":100000}`)
		time.Sleep(time.Second)
		if err := <-failed; !strings.Contains(err.Error(), "CUDA out of memory (simulated)") {
			t.Errorf("a leak that fills the GPU ends it with %v", err)
		}
		if got := owned(t, state); got > 24576*mib {
			t.Errorf("it has %d MiB of 24576", got/mib)
		}
	})
}

// TestStairs: the first requests cost memory, at once, later ones none.
func TestStairs(t *testing.T) {
	state := filepath.Join(t.TempDir(), "gpu")
	p := started(t, "--gpu-state", state, "--gpu-model", "10", "--gpu-stairs", "2", "--gpu-step", "100", "--tokens-per-second", "0")
	for _, want := range []gpu.Bytes{110, 210, 210} {
		if answer, err := rest(t, p.send(chat(1))); err != nil || !strings.HasSuffix(answer, wellEnded) {
			t.Fatalf("%v, %q", err, answer)
		}
		if got := owned(t, state); got != want*mib {
			t.Errorf("it has %d MiB, want %d", got/mib, want)
		}
	}
	p.kill()
}

// turn posts to the GPU's page.
func (p *process) turn(patch string) (status string, now GPUState) {
	p.t.Helper()
	answer, err := rest(p.t, p.send(request("/sim/gpu", patch)))
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	if err != nil {
		p.t.Fatal(err)
	}
	json.Unmarshal([]byte(body), &now) // of an error it stays empty
	return strings.Fields(head)[1], now
}

// TestGPUSwitches: each changes what it names; what is the machine's stays for the next life, and events go on counting.
func TestGPUSwitches(t *testing.T) {
	state := filepath.Join(t.TempDir(), "gpu")
	card := []string{"--gpu-state", state, "--gpu-total", "4000", "--gpu-model", "1000"}
	p := started(t, card...)
	pid := p.cmd.Process.Pid
	want := GPUState{Owner: pid, Bytes: 1000 * mib, Used: 1000 * mib, Total: 4000 * mib}
	expect := func(patch string) {
		t.Helper()
		if status, got := p.turn(patch); status != "200" || got != want {
			t.Errorf("%s is answered %s, %+v; want %+v", patch, status, got, want)
		}
	}
	want.Bytes, want.Used = 1250*mib, 1250*mib
	expect(`{"step":250}`)
	want.Lost, want.Recovery, want.Xid = true, 2, 1
	expect(`{"lost":true,"recovery":2,"xid":79}`)
	want.Lost, want.Xid = false, 2
	expect(`{"lost":false,"xid":31}`)
	d := newDriver(t, state)
	d.await("1250: %d=1250", pid)
	want.Contexts, want.Used = 2, (1250+2*248)*mib
	expect(`{"contexts":2}`)
	s, err := double.Read(state)
	if children := p.children(); err != nil || len(children) != 2 || len(s.GPUs[0].Owned) != 3 {
		t.Fatalf("children %v, %v: %+v", children, err, s)
	}
	if got := s.GPUs[0].Xids; len(got) != 2 || got[0].Code != 79 || got[1].Code != 31 {
		t.Errorf("events %+v", got)
	}
	if got := d.shows(); !strings.HasPrefix(got, "1746:") || strings.Count(got, "=248") != 2 {
		t.Errorf("with two helpers the GPU shows %q", got)
	}
	p.turn(`{"contexts":1}`)
	d.await("1498: %d=1250 %d=248", pid, s.GPUs[0].Owned[1].PID)
	if status, now := p.turn(`{"hang":"20ms"}`); status != "200" || now.Hang != Duration(20*time.Millisecond) {
		t.Errorf("hang: %s, %+v", status, now)
	}
	if began := time.Now(); d.shows() == "" || time.Since(began) < 20*time.Millisecond {
		t.Errorf("calls take %v", time.Since(began))
	}
	for _, bad := range []string{`{"hung":1}`, `{"leak":-1}`, `{"contexts":17}`, `{"recovery":-1}`, `{"hang":"-1s"}`, `{"step":-1}`, `{"xid":0}`, `x`} {
		if status, _ := p.turn(bad); status != "400" {
			t.Errorf("%s is answered %s", bad, status)
		}
	}
	p.kill()
	d.await("0:") // the helper goes, too

	p = started(t, card...)
	if status, now := p.turn(`{"xid":94}`); status != "200" || now.Xid != 3 || now.Recovery != 2 || now.Hang == 0 || now.Used != 1000*mib {
		t.Errorf("the next life answers %s, %+v", status, now)
	}
	p.send(request("/sim/gpu", `{"step":4000}`)) // it may end before it answers
	if got := p.exit(); got != "exit status 1" {
		t.Errorf("without memory it ended with %q", got)
	}
}

// TestWithoutAGPU: there is no such page, and options that can't be are refused.
func TestWithoutAGPU(t *testing.T) {
	w := startWorker(t, "")
	if status, _ := w.do(http.MethodGet, "/sim/gpu", ""); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
	g := GPU{Total: 0, Model: -1, Leak: -1, Stairs: -1, Step: -1, Release: -1, PID: "me"}
	err := g.validate(0)
	for _, want := range []string{"gpu-total", "gpu-model", "gpu-leak", "gpu-pace", "gpu-stairs", "gpu-step", "gpu-release", "gpu-pid"} {
		if err == nil || !strings.Contains(err.Error(), want+": ") {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	child := defaultGPU()
	child.PID = ListChild
	if err := child.validate(0); err == nil {
		t.Error("a child without children has the memory")
	}
	if err := defaultGPU().validate(0); err != nil {
		t.Error(err)
	}
}
