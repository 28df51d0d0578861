package config

import (
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The placeholders of a command. Only these exact words mean something: workers take JSON arguments full of braces.
const (
	portWord   = "{port}"
	socketWord = "{socket}"
)

// Placeholders reports which placeholders the command holds.
func Placeholders(command []string) (port, socket bool) {
	for _, word := range command {
		port = port || strings.Contains(word, portWord)
		socket = socket || strings.Contains(word, socketWord)
	}
	return port, socket
}

// Fill returns the command with its placeholders replaced by the address: {port} by its port, {socket} by its path.
func Fill(command []string, a Address) []string {
	var pairs []string
	if _, port, err := net.SplitHostPort(a.Addr); a.Network == "tcp" && err == nil {
		pairs = []string{portWord, port}
	} else if a.Network == "unix" {
		pairs = []string{socketWord, a.Addr}
	}
	r := strings.NewReplacer(pairs...)
	filled := slices.Clone(command)
	for i, word := range filled {
		filled[i] = r.Replace(word)
	}
	return filled
}

// whereLines returns the lines to type for a command that does not say where its worker shall listen. A --port that
// is there already is used; else the words that the engine is known by tell which option it has.
func (s Settings) whereLines() []string {
	for i, word := range s.Command {
		if word == "--port" && i+1 < len(s.Command) {
			return []string{s.Line(excerpt(s.Command, i, word, portWord))}
		}
		if strings.HasPrefix(word, "--port=") {
			return []string{s.Line(excerpt(s.Command, i, "--port="+portWord))}
		}
	}
	end := len(s.Command)
	switch {
	case s.runs("vllm"):
		return []string{s.Line(excerpt(s.Command, end, "--uds", socketWord))}
	case s.runs("sglang"), s.runs("llama-server"):
		return []string{s.Line(excerpt(s.Command, end, "--port", portWord))}
	default:
		return []string{s.Line(Excerpt(s.Command), "--upstream", "127.0.0.1:PORT") + "   (PORT: where the worker listens)"}
	}
}

// elided stands for words of a command that are not shown.
const elided = "…"

// Excerpt returns what may be shown of a command: the program's own name, and an ellipsis for the rest. Arguments and
// assignments to the environment may be secrets, and what is shown ends in logs.
func Excerpt(command []string) []string { return excerpt(command, len(command)) }

// excerpt is Excerpt with the words from at on replaced by others, which are shown.
func excerpt(command []string, at int, words ...string) []string {
	var shown []string
	if at > 0 {
		shown = append(shown, programOf(command[0]))
	}
	if at > 1 && shown[0] != elided {
		shown = append(shown, elided)
	}
	shown = append(shown, words...)
	if at+len(words) < len(command) {
		shown = append(shown, elided)
	}
	return shown
}

// programOf returns a command's first word without its directory. A shell's assignment (TOKEN=... vllm) is no program.
func programOf(word string) string {
	if strings.Contains(word, "=") {
		return elided
	}
	return filepath.Base(word)
}

// Line returns what to type: the options as typed, more of them, and a command or an Excerpt of one.
func (s Settings) Line(command []string, more ...string) string {
	words := slices.Concat([]string{"autoglm-sidecar", "run"}, RedactCommand(s.Typed), more)
	if len(command) > 0 {
		words = slices.Concat(words, []string{"--"}, command)
	}
	for i, word := range words {
		words[i] = Quote(word)
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+{}-]+$`)

// Quote writes a word so that a shell reads it as it is.
func Quote(word string) string {
	if plainWord.MatchString(word) || word == elided {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
