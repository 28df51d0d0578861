package gpu

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Minimum is what a worker needs of the driver.
type Minimum struct {
	Driver string // "550.54"; "": any
	CUDA   int    // 1000*major + 10*minor, that the driver supports; 0: any
}

// Check returns what of a system is too old. What isn't known of it is taken to be enough.
func (m Minimum) Check(s System) error {
	if s.Library != Reads {
		return nil
	}
	var errs []error
	if want, err := numbers(m.Driver); err == nil {
		// A vendor's or a distribution's addition, as in 550.54.15-1, doesn't make it older.
		version := strings.TrimRight(s.Driver[:len(s.Driver)-len(strings.TrimLeft(s.Driver, "0123456789."))], ".")
		if has, err := numbers(version); err == nil && older(has, want) {
			errs = append(errs, fmt.Errorf("driver %s is older than the configured minimum %s: upgrade it, or lower gpu.minimum_driver",
				s.Driver, m.Driver))
		}
	}
	if s.CUDA > 0 && s.CUDA < m.CUDA {
		errs = append(errs, fmt.Errorf("CUDA %s, the latest that the driver supports, is older than the configured minimum %s: "+
			"upgrade the driver, or lower gpu.minimum_cuda", cuda(s.CUDA), cuda(m.CUDA)))
	}
	return errors.Join(errs...)
}

// ParseDriver says what is wrong with the version of a driver: "550", "550.54" and "550.54.15" are right.
func ParseDriver(version string) error {
	if n, err := numbers(version); err != nil || len(n) > 3 {
		return fmt.Errorf(`driver version %q: want numbers with dots, as "550.54.15"`, version)
	}
	return nil
}

// ParseCUDA reads a version such as "12.4" as CUDA counts it, 12040.
func ParseCUDA(version string) (int, error) {
	n, err := numbers(version)
	if err != nil || len(n) != 2 || n[0] < 1 || n[0] > 999 || n[1] > 99 {
		return 0, fmt.Errorf(`CUDA version %q: want MAJOR.MINOR, as "12.4"`, version)
	}
	return 1000*n[0] + 10*n[1], nil
}

func cuda(n int) string { return fmt.Sprintf("%d.%d", n/1000, n%1000/10) }

// numbers takes a version apart at its dots.
func numbers(version string) ([]int, error) {
	var all []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return nil, err
		}
		all = append(all, int(n))
	}
	return all, nil
}

// older compares versions; what one has fewer of counts as 0.
func older(a, b []int) bool {
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(at0(a, i), at0(b, i)); c != 0 {
			return c < 0
		}
	}
	return false
}

func at0(n []int, i int) int {
	if i < len(n) {
		return n[i]
	}
	return 0
}
