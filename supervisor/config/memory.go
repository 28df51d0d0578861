package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The settings of an AutoGLM worker that are variables. Who reads them is said in docs/configuration.md; in short, hardly
// anybody, which is why the share of the memory becomes an option of the engine, too.
const (
	memoryVariable    = "CUDA_MEMORY_LIMIT"      // the share in per cent, as in 80%
	keepAliveVariable = "GRPC_KEEPALIVE_TIME_MS" // gRPC pings, in milliseconds
	keepAliveDefault  = "10000"
)

// judgeMemory puts the share of the memory into the command as the engine's own option, unless that is there already.
func (s Settings) judgeMemory(j *judge, r *Run) {
	if s.MemoryShare == 0 || len(s.Command) == 0 || j.s.isBad(memoryKey) {
		return
	}
	flag := presetOf(r.Engine).memoryFlag
	if flag == "" {
		r.note(s, memoryKey, fmt.Sprintf("%s has no option for it: the worker gets %s=%s, and nothing holds it to that", r.Engine, memoryVariable, shortShare(s.MemoryShare)))
		return
	}
	value, there := optionValue(s.Command, flag)
	if !there {
		r.Command = append(slices.Clone(r.Command), flag, engineShare(s.MemoryShare))
		return
	}
	switch set, err := strconv.ParseFloat(value, 64); {
	case err != nil:
		r.note(s, memoryKey, fmt.Sprintf("the command has %s itself, with what is no number; the command's holds", flag))
	case set > s.MemoryShare:
		r.note(s, memoryKey, fmt.Sprintf("the command itself says %s %s, which is more than %s; the command's holds", flag, value, shortShare(s.MemoryShare)))
	}
}

const memoryKey = "worker.memory_share"

// engineShare writes a share as engines do: 0.80.
func engineShare(f float64) string {
	f = math.Round(f*1e6) / 1e6
	if text := strconv.FormatFloat(f, 'f', -1, 64); len(text) > len("0.80") {
		return text
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// optionValue returns the value of an option of a command, the last one, which is the one that holds. Python's argparse
// takes _ for -, and any beginning that is clear.
func optionValue(command []string, flag string) (value string, there bool) {
	const clear = len("--gpu-mem") // neither engine has another option that begins with as many letters of it
	for i, word := range command {
		name, assigned, equals := strings.Cut(word, "=")
		name = strings.ReplaceAll(name, "_", "-")
		if len(name) < clear || !strings.HasPrefix(flag, name) {
			continue
		}
		value, there = assigned, true
		if !equals && i+1 < len(command) {
			value = command[i+1]
		}
	}
	return value, there
}

// IsOurs reports whether a variable of the sidecar's own environment is meant for it alone, so that no worker gets it:
// what it and its service manager say to each other, where its secrets lie, and how it recognises its workers.
func IsOurs(variable string) bool {
	switch variable {
	case "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "FDSTORE":
		return true
	}
	for _, prefix := range []string{"LISTEN_", "WATCHDOG_", "MEMORY_PRESSURE_", "AUTOGLM_SIDECAR_"} {
		if strings.HasPrefix(variable, prefix) {
			return true
		}
	}
	return false
}

// session are the variables that tell who somebody is. They are another's where the worker runs as another.
var session = []string{"HOME", "USER", "LOGNAME", "SHELL", "MAIL", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS"}

// WorkerEnvironment returns the environment that the worker gets, as NAME=VALUE, made from ours. What the settings say
// comes before what we have, and what is only usual comes after both.
func (r Run) WorkerEnvironment(ours []string) []string {
	var env []string
	has := map[string]bool{}
	for _, entry := range ours {
		name, _, _ := strings.Cut(entry, "=")
		if _, said := r.Environment[name]; said || IsOurs(name) || r.User.Name != "" && slices.Contains(session, name) {
			continue
		}
		has[name] = true
		env = append(env, entry)
	}
	usual := map[string]string{keepAliveVariable: keepAliveDefault}
	if r.MemoryShare > 0 {
		usual[memoryVariable] = shortShare(r.MemoryShare)
	}
	if r.User.Name != "" {
		usual["HOME"], usual["USER"], usual["LOGNAME"] = r.User.Home, r.User.Name, r.User.Name
	}
	for _, name := range slices.Sorted(maps.Keys(usual)) {
		if _, said := r.Environment[name]; !said && !has[name] {
			env = append(env, name+"="+usual[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Environment)) {
		env = append(env, name+"="+r.Environment[name])
	}
	return env
}
