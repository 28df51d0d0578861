package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// family is a process and all below it: HAProxy and nginx are families, the sidecar is a keeper and its runner.
func family(pid int) []int {
	all := []int{pid}
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range children {
		pids, _ := os.ReadFile(file) // a thread that has ended has none
		for word := range strings.FieldsSeq(string(pids)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, family(child)...)
			}
		}
	}
	return all
}

// cpuOf is the time that a family has had on processors so far, by the scheduler's own account (proc(5), schedstat).
// Work that the kernel does for it in somebody else's time is not in it.
func cpuOf(pid int) (spent time.Duration) {
	for _, one := range family(pid) {
		spent += cpuOfOne(one)
	}
	return spent
}

// cpuOfOne is that of one process's threads.
func cpuOfOne(pid int) (spent time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, file := range threads {
		b, _ := os.ReadFile(file)
		first, _, _ := strings.Cut(string(b), " ")
		if ns, err := strconv.ParseInt(first, 10, 64); err == nil {
			spent += time.Duration(ns)
		}
	}
	return spent
}

// memory is what a family holds, in bytes. Anonymous memory is each process's own; what is shared (the sidecar's arena)
// is counted once.
type memory struct{ anonymous, shared int64 }

func (m memory) sum() int64 { return m.anonymous + m.shared }

func memoryOf(pid int) (m memory) {
	for _, one := range family(pid) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", one))
		m.anonymous += field(status, "RssAnon:")
		m.shared = max(m.shared, field(status, "RssShmem:"))
	}
	return m
}

// field is a line of proc's status, in bytes.
func field(status []byte, name string) int64 {
	_, rest, found := bytes.Cut(status, []byte("\n"+name))
	if !found {
		return 0
	}
	words := strings.Fields(string(rest[:bytes.IndexByte(rest, '\n')]))
	kib, _ := strconv.ParseInt(words[0], 10, 64)
	return kib << 10
}
