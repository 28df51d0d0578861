package demo

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// screen shows how far the demonstration is: a line for each step that is done and, on a terminal, one below them that is
// drawn anew ten times a second.
type screen struct {
	out  io.Writer
	live bool // out is a terminal
	wide int  // its columns

	mu    sync.Mutex // guards everything that follows
	title string
	more  func() string
	since time.Time
	frame int
	stop  chan struct{} // closed by end; nil while nothing is drawn
}

const frameTime = 100 * time.Millisecond

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.live = true
		if wide, _, err := term.GetSize(int(f.Fd())); err == nil {
			s.wide = wide
		}
	}
	return s
}

// say prints a line that stays.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// step prints a step that was taken.
func (s *screen) step(step Step) {
	mark := "ok"
	if s.live {
		mark = text.FgGreen.Sprint("✓")
	}
	under := ""
	if step.Open > 0 {
		under = fmt.Sprintf("%d open, ", step.Open)
	}
	if step.Open > 0 || step.Held > 0 {
		under += fmt.Sprintf("%d held; ", step.Held)
	}
	s.say("%s %-31s %5.1f s  %s%s", mark, step.Name, float64(step.TookMS)/1000, under, step.What)
}

// begin names what is done now; more, if not nil, says how it stands.
func (s *screen) begin(title string, more func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.title, s.more, s.since = title, more, time.Now()
	if s.live && s.stop == nil {
		s.stop = make(chan struct{})
		go s.draw(s.stop)
	}
}

// end stops drawing and clears what was drawn.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		close(s.stop)
		s.stop = nil
		s.clear()
	}
}

func (s *screen) draw(stop <-chan struct{}) {
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			s.drawOnce(stop)
		}
	}
}

func (s *screen) drawOnce(stop <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != stop {
		return // ended meanwhile
	}
	s.frame++
	line := fmt.Sprintf("%c %-31s %5.1f s", spinner[s.frame%len(spinner)], s.title, time.Since(s.since).Seconds())
	if s.more != nil {
		line += "  " + s.more()
	}
	if s.wide > 0 {
		line = text.Trim(line, s.wide-1)
	}
	s.clear()
	fmt.Fprint(s.out, line)
}

// clear empties the line that is drawn anew.
func (s *screen) clear() {
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}
