package double

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Read reads a state that Write has written.
func Read(path string) (State, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return State{}, fmt.Errorf("read the double's state: %w", err)
	}
	s, err := parse(string(text))
	if err != nil {
		return State{}, fmt.Errorf("read the double's state: %s: %w", path, err)
	}
	return s, nil
}

// parse takes the lines that text writes. Where the library passes over a line that it doesn't know, this is strict: what it lost
// would be gone from the file at the next Write.
func parse(text string) (State, error) {
	lines, whole := strings.CutSuffix("\n"+text, "\nend\n")
	if !whole {
		return State{}, errors.New(`no "end": the file is torn`)
	}
	var s State
	for number, line := range strings.Split(lines, "\n")[1:] {
		if err := s.statement(line); err != nil {
			return State{}, fmt.Errorf("line %d: %q: %w", number+1, line, err)
		}
	}
	return s, nil
}

func (s *State) statement(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "driver":
		s.Driver = rest
		return nil
	case "cuda":
		return scan(rest, &s.CUDA)
	case "init":
		return scan(rest, &s.Init)
	case "delay":
		var ms int64
		err := scan(rest, &ms)
		s.Delay = time.Duration(ms) * time.Millisecond
		return err
	case "gpu":
		s.GPUs = append(s.GPUs, GPU{Memory: Memory{UUID: rest}})
		return nil
	}
	if len(s.GPUs) == 0 {
		return errors.New("of no GPU")
	}
	g := &s.GPUs[len(s.GPUs)-1]
	if known, err := g.statement(word, rest); known {
		return err
	}
	m := &g.Memory
	if last := len(g.Instances) - 1; last >= 0 {
		m = &g.Instances[last].Memory
	}
	return m.statement(word, rest)
}

// statement takes a line that only a GPU has.
func (g *GPU) statement(word, rest string) (known bool, err error) {
	switch word {
	case "bus":
		g.Bus = rest
	case "util":
		err = scan(rest, &g.Utilisation)
	case "temp":
		err = scan(rest, &g.Temperature)
	case "clocks":
		err = scan(rest, &g.Clocks)
	case "recovery":
		err = scan(rest, (*int)(&g.Recovery))
	case "ecc":
		err = scan(rest, &g.Uncorrected)
	case "wait":
		err = scan(rest, &g.Wait)
	case "rows":
		var pending, failed int
		err = scan(rest, &g.Rows.Corrected, &g.Rows.Bad, &pending, &failed)
		g.Rows.Pending, g.Rows.Failed = pending == 1, failed == 1
	case "xid":
		var x Xid
		var gi, ci int64
		err = scan(rest, &x.Number, &x.Code, &gi, &ci)
		if gi >= 0 && ci >= 0 {
			x.In = &Instance{GI: uint32(gi), CI: uint32(ci)}
		}
		g.Xids = append(g.Xids, x)
	case "mig":
		var i Instance
		err = scan(rest, &i.UUID, &i.GI, &i.CI)
		g.Instances = append(g.Instances, i)
	default:
		return false, nil
	}
	return true, err
}

// statement takes a line that a GPU and an instance have alike.
func (m *Memory) statement(word, rest string) error {
	switch word {
	case "name":
		m.Name = rest
		return nil
	case "total":
		return scan(rest, (*int64)(&m.Total))
	case "reserved":
		return scan(rest, (*int64)(&m.Reserved))
	case "unowned":
		return scan(rest, (*int64)(&m.Unowned))
	case "error":
		return scan(rest, &m.Error)
	case "denied":
		var denied int
		err := scan(rest, &denied)
		m.Denied = denied == 1
		return err
	case "proc", "mps":
		p := Process{MPS: word == "mps"}
		err := scan(rest, &p.PID, (*int64)(&p.Bytes))
		m.Processes = append(m.Processes, p)
		return err
	case "owned":
		var o Owned
		var release, seen int64
		err := scan(rest, &o.PID, &o.Start, &o.Listed, (*int64)(&o.Bytes), &release, &seen)
		o.Release, o.Seen = time.Duration(release)*time.Millisecond, time.Duration(seen)*time.Millisecond
		m.Owned = append(m.Owned, o)
		return err
	default:
		return errors.New("not known")
	}
}

// scan reads the words of a line, all of them.
func scan(line string, into ...any) error {
	if words := len(strings.Fields(line)); words != len(into) {
		return fmt.Errorf("has %d values, not %d", words, len(into))
	}
	_, err := fmt.Sscan(line, into...)
	return err
}
