package health

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The table in docs/health.md is the warnables, in their order.
func TestTheDocsHaveEachWarning(t *testing.T) {
	docs, err := os.ReadFile("../docs/health.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(docs), "\n| code | title | severity |\n| --- | --- | --- |\n")
	table, _, ended := strings.Cut(table, "\n\n")
	if !found || !ended {
		t.Fatal("there is no table of warnings in docs/health.md")
	}
	var want []string
	for _, w := range warnables {
		title := w.Title
		switch {
		case w.Visible == time.Minute:
			title += " (shown after a minute)"
		case w.Visible > 0:
			title += fmt.Sprintf(" (shown after %d s)", w.Visible/time.Second)
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", w.Code, title, w.Severity))
	}
	if got := strings.Split(table, "\n"); !slices.Equal(got, want) {
		t.Errorf("docs/health.md has\n%s\nwant\n%s", table, strings.Join(want, "\n"))
	}
}
