package sim

import (
	"encoding/binary"
	"strconv"
)

// pieces are all the tokens there are. Each has two different ASCII letters side by side, so that a byte can be
// dropped, doubled or swapped in any of them, and together they have what JSON and UTF-8 make difficult.
var pieces = [16]string{
	" tap", " swipe", " open", " back", " home", " wait", " type", " <answer>",
	" button", " screen", " 自动auto", " 点击click", "\nnext", " \"ok\"", " C:\\tmp", " 🙂yes",
}

// escaped are the pieces as they stand inside a JSON string of vLLM's: only what must be is escaped.
var escaped = func() (out [len(pieces)]string) {
	for i, piece := range pieces {
		out[i] = string(appendJSON(nil, piece))
	}
	return out
}()

// seed is FNV-1a, 64 bits, of the prompt so far.
type seed uint64

// The ids of tokens. A piece's id is its number in the table.
const (
	endID      = len(pieces) // of the token that ends a text by itself
	beginID    = endID + 1   // of the token before every prompt
	vocabulary = 151_552     // as large as the model's that is not there
)

// promptIDs are the ids of a prompt's tokens: the one before it, then one for each four bytes. What is left over
// belongs to the last.
func promptIDs(prompt string) []int {
	ids := []int{beginID}
	for ; len(prompt) >= 4; prompt = prompt[4:] {
		ids = append(ids, int(binary.BigEndian.Uint32([]byte(prompt[:4]))%vocabulary))
	}
	return ids
}

// newSeed is the seed of the empty prompt.
func newSeed() seed { return 14695981039346656037 }

// add lengthens the prompt by s.
func (s seed) add(text string) seed {
	for i := range len(text) {
		s = (s ^ seed(text[i])) * 1099511628211
	}
	return s
}

// draw is u(P, c, k) of the package's comment: SplitMix64 with choice and token as the counter.
func (s seed) draw(choice, k int) uint64 {
	z := uint64(s) + (uint64(choice)<<32+uint64(k)+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// piece is the number of the piece that is token k of a choice.
func (s seed) piece(choice, k int) int { return int(s.draw(choice, k) % uint64(len(pieces))) }

// naturalLength is the number of tokens after which the text of a choice would end by itself.
func (s seed) naturalLength(choice int) int { return 64 + int(s.draw(choice, 0)>>32%193) }

// appendJSON appends text as it stands between the quotes of a JSON string, as pydantic writes it: UTF-8 stays, and
// neither < nor & is escaped, unlike encoding/json.
func appendJSON(dst []byte, text string) []byte {
	for i := range len(text) {
		switch b := text[i]; {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b == '\n':
			dst = append(dst, `\n`...)
		case b == '\r':
			dst = append(dst, `\r`...)
		case b == '\t':
			dst = append(dst, `\t`...)
		case b < 0x20:
			dst = append(dst, `\u00`...)
			if b < 0x10 {
				dst = append(dst, '0')
			}
			dst = strconv.AppendUint(dst, uint64(b), 16)
		default:
			dst = append(dst, b)
		}
	}
	return dst
}
