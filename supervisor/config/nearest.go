package config

import "strings"

// nearest returns the word that was probably meant; empty: none is near. A mistyped word has few other letters than
// the right one, three at most; a beginning is a word that somebody was too lazy to finish.
func nearest(typed string, words []string) string {
	best, least := "", min(max(1, len(typed)/3), 3)+1
	typed = normal(typed)
	for _, word := range words {
		d := distance(typed, normal(word))
		if d >= least && len(typed) >= 3 && strings.HasPrefix(normal(word), typed) {
			d = least - 1
		}
		if d < least {
			best, least = word, d
		}
	}
	return best
}

// normal leaves only what people think of as the same key: start-deadline, startDeadline and start_deadline.
func normal(word string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(word))
}

// longestTyped bounds the work: no key is half as long.
const longestTyped = 64

// distance counts the letters to put in, take out, change or swap with the next, to make one word of the other.
func distance(a, b string) int {
	if len(a) > longestTyped || len(b) > longestTyped {
		return longestTyped
	}
	var before, last []int
	this := make([]int, len(b)+1)
	for j := range this {
		this[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, this = last, this, make([]int, len(b)+1)
		this[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			this[j] = min(change, last[j]+1, this[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				this[j] = min(this[j], before[j-2]+1)
			}
		}
	}
	return this[len(b)]
}
