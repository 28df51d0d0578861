package openai

import "bytes"

// Kind is the dialect that a request asks for.
type Kind uint8

const (
	Unknown     Kind = iota // no dialect of this package: its answer is not judged
	Chat                    // chat/completions: choices[].delta
	Completions             // completions: choices[].text
)

// KindOf returns the dialect of a request by its method and target, whatever stands before the last words of the path
// (/v1, /openai/v1, a host). The query is ignored.
func KindOf(method, target []byte) Kind {
	if string(method) != "POST" {
		return Unknown
	}
	path, _, _ := bytes.Cut(target, []byte("?"))
	switch {
	case bytes.HasSuffix(path, []byte("/chat/completions")):
		return Chat
	case bytes.HasSuffix(path, []byte("/completions")):
		return Completions
	}
	return Unknown
}
