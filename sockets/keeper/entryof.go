package keeper

import (
	"debug/elf"
	"debug/gosym"
	"fmt"
)

// EntrySymbol is the function that EntryOf finds in a program that was built as it should be.
const EntrySymbol = "autoglm-sidecar/sockets/keeper.Entry"

// EntryOf returns the name of the function at which the Go program in the file path starts. It reads the table that
// Go's runtime has for tracebacks, so it works for a stripped file too. For checks of a build.
func EntryOf(path string) (string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the entry point: %w", err)
	}
	defer file.Close()
	code, lines := file.Section(".text"), file.Section(".gopclntab")
	if code == nil || lines == nil {
		return "", fmt.Errorf("read the entry point of %s: it is no Go program", path)
	}
	data, err := lines.Data()
	if err != nil {
		return "", fmt.Errorf("read the entry point of %s: %w", path, err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, code.Addr))
	if err != nil {
		return "", fmt.Errorf("read the entry point of %s: %w", path, err)
	}
	if f := table.PCToFunc(file.Entry); f != nil && f.Entry == file.Entry {
		return f.Name, nil
	}
	return "", nil // not Go code: the C library's, after external linking
}
