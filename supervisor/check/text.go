package check

import (
	"math/rand/v2"
	"strings"
)

// What the simulated worker answers is written down in the package comment of supervisor/sim. This file computes it from that
// description and shares no code with it: if one of the two is wrong, they disagree.

// tokens are the sixteen tokens there are, as they stand inside a JSON string.
var tokens = [16]string{
	` tap`, ` swipe`, ` open`, ` back`, ` home`, ` wait`, ` type`, ` <answer>`,
	` button`, ` screen`, ` 自动auto`, ` 点击click`, `\nnext`, ` \"ok\"`, ` C:\\tmp`, ` 🙂yes`,
}

// prompt is the FNV-1a sum of a prompt, all that an answer's text depends on.
type prompt uint64

func promptOf(bytes string) prompt {
	h := uint64(0xcbf29ce484222325)
	for i := range len(bytes) {
		h = (h ^ uint64(bytes[i])) * 0x100000001b3
	}
	return prompt(h)
}

// token is the k-th token of the first choice, as it stands inside a JSON string.
func (p prompt) token(k int) string {
	z := uint64(p) + (uint64(k)+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return tokens[(z^z>>31)%uint64(len(tokens))]
}

// appendText appends the first n tokens, as they stand inside a JSON string.
func (p prompt) appendText(dst []byte, n int) []byte {
	for k := range n {
		dst = append(dst, p.token(k)...)
	}
	return dst
}

// Text is what the simulated worker answers to a chat of one user message, in the first n tokens, as a client of an SDK sees it.
func Text(message string, n int) string {
	escaped := promptOf("user:"+message+"\n").appendText(nil, n)
	return strings.NewReplacer(`\n`, "\n", `\"`, `"`, `\\`, `\`).Replace(string(escaped))
}

// filler fills b with letters of which no stretch repeats. They are those of base64, so that b may stand in JSON.
func filler(b []byte, key uint64) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	source := rand.NewPCG(key, 0)
	for len(b) > 0 {
		bits := source.Uint64()
		n := min(len(b), 10)
		for i := range n {
			b[i] = letters[bits&63]
			bits >>= 6
		}
		b = b[n:]
	}
}
