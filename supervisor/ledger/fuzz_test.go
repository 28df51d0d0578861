package ledger

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seeds are a good line, damaged ones, and files of several.
func seeds(f *testing.F) {
	f.Helper()
	var file []byte
	for id := range int64(3) {
		line, err := encode(entry(id + 1))
		if err != nil {
			f.Fatal(err)
		}
		file = append(file, line...)
	}
	f.Add(file)
	line, err := encode(remembered(4))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(file, line...))
	f.Add(line[:len(line)-1])
	f.Add(file[:len(file)-1])
	f.Add(append(bytes.Clone(file[:len(file)/2]), make([]byte, 10)...))
	f.Add([]byte("\n\n{}\n" + `{"sum":"00000000","restart":}` + "\n"))
	f.Add([]byte(`{"sum":"00000000","restart":`))
	f.Add([]byte{})
}

// Whatever lies in the file, the ledger opens, loses no line that is good, and takes another.
func FuzzRecovery(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, currentName), content, 0o640); err != nil {
			t.Fatal(err)
		}
		want := []Entry{entry(77)}
		lines := bytes.Split(content, []byte("\n"))
		for i := len(lines) - 2; i >= 0; i-- { // behind the last line end is nothing, or a torn line
			if r, ok := decode(lines[i]); ok {
				want = append(want, r)
			}
		}
		l, err := Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if len(want) > 1 && isSame(want[1].Restart, want[0].Restart) {
			want = want[1:]
		}
		if err := l.Append(restart(77)); err != nil {
			t.Fatal(err)
		}
		got, err := l.History(0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
	})
}

// A line that is taken is one that was written: its sum is right and it is JSON as a whole.
func FuzzLine(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		r, ok := decode(line)
		if !ok {
			return
		}
		if !json.Valid(line) {
			t.Errorf("taken, and no JSON: %q", line)
		}
		again, err := encode(r)
		if err != nil {
			t.Fatalf("taken, and can't be written: %v", err)
		}
		if same, ok := decode(bytes.TrimSuffix(again, []byte("\n"))); !ok || !cmp.Equal(r, same) {
			t.Errorf("written again it is another:\n%s", cmp.Diff(r, same))
		}
	})
}
