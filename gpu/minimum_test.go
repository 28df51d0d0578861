package gpu

import (
	"strings"
	"testing"
)

func TestADriverThatIsTooOldIsNamed(t *testing.T) {
	const tooOld = "driver 535.104.05 is older than the configured minimum 550.54: upgrade it, or lower gpu.minimum_driver"
	for _, c := range []struct {
		minimum Minimum
		system  System
		want    string // parts, by lines
	}{
		{Minimum{"550.54", 0}, System{Driver: "535.104.05"}, tooOld},
		{Minimum{"550.54", 0}, System{Driver: "550.54"}, ""},
		{Minimum{"550.54", 0}, System{Driver: "550.54.15"}, ""},
		{Minimum{"550.54.15", 0}, System{Driver: "550.54"}, "driver 550.54 is older"},
		{Minimum{"550.54.0", 0}, System{Driver: "550.54"}, ""},
		{Minimum{"550.9", 0}, System{Driver: "550.54"}, ""}, // numbers, not letters
		{Minimum{"1000", 0}, System{Driver: "550.54"}, "driver 550.54 is older"},
		{Minimum{"550", 0}, System{Driver: "1000.1"}, ""},
		{Minimum{"550.54.5", 0}, System{Driver: "550.54.05"}, ""},
		{Minimum{}, System{Driver: "1", CUDA: 1000}, ""},
		{Minimum{"550", 12040}, System{}, ""},
		{Minimum{"550", 0}, System{Driver: "535.beta"}, "driver 535.beta is older"},
		{Minimum{"550", 0}, System{Driver: "beta"}, ""},
		{Minimum{"550.54.16", 0}, System{Driver: "550.54.15-1ubuntu2"}, "driver 550.54.15-1ubuntu2 is older"},
		{Minimum{"550.54.15", 0}, System{Driver: "550.54.15-1ubuntu2"}, ""},
		{Minimum{"", 12040}, System{CUDA: 12020}, "CUDA 12.2, the latest that the driver supports, is older than the configured minimum 12.4"},
		{Minimum{"", 12040}, System{CUDA: 12040}, ""},
		{Minimum{"", 12040}, System{CUDA: 13000}, ""},
		{Minimum{"", 12100}, System{CUDA: 12090}, "CUDA 12.9, the latest that the driver supports, is older than the configured minimum 12.10"},
		{Minimum{"550.54", 12040}, System{Driver: "535.104.05", CUDA: 12020}, tooOld + "\nCUDA 12.2"},
	} {
		c.system.Library = Reads
		err := c.minimum.Check(c.system)
		if (err != nil) != (c.want != "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v of %+v: %v, want %q", c.minimum, c.system, err, c.want)
		}
		c.system.Library = NoDriver
		if err := c.minimum.Check(c.system); err != nil {
			t.Errorf("of a library that doesn't read: %v", err)
		}
	}
}

func TestVersionsAreNumbersWithDots(t *testing.T) {
	for version, want := range map[string]int{"12.4": 12040, "11.8": 11080, "13.0": 13000, "12.10": 12100} {
		if got, err := ParseCUDA(version); got != want || err != nil {
			t.Errorf("CUDA %s: %d, %v", version, got, err)
		}
	}
	for _, version := range []string{"", "12", "12.4.1", "12.", "-1.2", "12.100", "0.4", "12040", "1000.1", "+1.2"} {
		if _, err := ParseCUDA(version); err == nil || !strings.Contains(err.Error(), "MAJOR.MINOR") {
			t.Errorf("CUDA %q: %v", version, err)
		}
	}
	for version, want := range map[string]bool{
		"550": true, "550.54": true, "550.54.15": true, "535.104.05": true,
		"": false, "550.": false, ".": false, "550.x": false, "1.2.3.4": false, "-1": false, "99999999999": false,
	} {
		if err := ParseDriver(version); (err == nil) != want {
			t.Errorf("driver %q: %v", version, err)
		}
	}
}

func FuzzVersions(f *testing.F) {
	for _, s := range []string{"550.54.15", "535.104.05", "12.4", "", ".", "1..2"} {
		f.Add(s, "550.54")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if ParseDriver(a) != nil || ParseDriver(b) != nil {
			return
		}
		needs := func(want, has string) bool {
			return Minimum{Driver: want}.Check(System{Library: Reads, Driver: has}) != nil
		}
		if needs(a, a) || needs(a, b) && needs(b, a) {
			t.Errorf("%s and %s are both older", a, b)
		}
		if n, err := ParseCUDA(a); err == nil && (n < 1000 || n >= 1_000_000) {
			t.Errorf("CUDA %s: %d", a, n)
		}
	})
}
