package lastwords

import (
	"os/exec"
	"strings"
	"testing"
)

func TestTheLastLineIsFitToBeShown(t *testing.T) {
	for what, c := range map[string]struct {
		wrote []string
		want  string
	}{
		"nothing":                {nil, ""},
		"empty lines at its end": {[]string{"first\n", "second\n\n", " \n"}, "second"},
		"one line in two parts":  {[]string{"one\ntw", "o"}, "two"},
		"what moves the cursor":  {[]string{"\x1b[31mred\x00\x7f"}, "[31mred"},
		"what is no text":        {[]string{"a\xffb"}, "ab"},
		"a long line":            {[]string{strings.Repeat("é", 100)}, strings.Repeat("é", 60) + " ..."},
		"much, then a line":      {[]string{strings.Repeat("x", 9000), strings.Repeat("y", 9000), "\nlast\n"}, "last"},
	} {
		var tail Tail
		for _, w := range c.wrote {
			if n, err := tail.Write([]byte(w)); n != len(w) || err != nil {
				t.Errorf("%s: took %d of %d bytes, %v", what, n, len(w), err)
			}
		}
		if got := tail.Line(); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
		if len(tail.kept) > mostOutput {
			t.Errorf("%s: %d bytes are kept, at most %d may be", what, len(tail.kept), mostOutput)
		}
	}
}

func TestHowAProgramEnded(t *testing.T) {
	for script, want := range map[string]string{"exit 0": "exited 0", "exit 3": "exited 3", "kill -KILL $$": "killed by signal 9"} {
		c := exec.CommandContext(t.Context(), "sh", "-c", script)
		_ = c.Run()
		if got := Ended(c.ProcessState); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
}
