package config

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Secrets reach us in arguments, in the environment and in what a worker prints of both. Whatever shows any of it (config
// show, status, logs, errors) sends it through here first. Nobody can know every secret by its looks, so it is the name
// beside it that counts, and where that is in doubt too much is hidden rather than too little: from a name that sounds
// like a secret on, all the rest of the argument goes.

// Hidden stands where something is not shown.
const Hidden = "REDACTED"

// Secret reports whether a name sounds like that of a secret: an option, a variable, a header or a key of an object.
func Secret(name string) bool {
	name = squeeze.ReplaceAllString(strings.ToLower(name), "")
	return secretParts.MatchString(harmless.ReplaceAllString(name, ""))
}

var (
	squeeze     = regexp.MustCompile(`[^a-z0-9%]`)
	secretParts = regexp.MustCompile(`key|token|secret|passw|passphrase|passcode|pwd|credential|auth|bearer|cookie|signature|privat`)
	// harmless are parts of names that only sound so: vLLM's and SGLang's options are full of tokenizers.
	harmless = regexp.MustCompile(`tokeni[sz]er|tokeni[sz]ation|tokeni[sz]ed?|keyerror|keyboardinterrupt|keyboard|monkey|author(s|ed)?$`)
)

// countsOnly reports whether the name is of a number of tokens or the like, so that a number beside it is no secret.
func countsOnly(name string) bool {
	name = squeeze.ReplaceAllString(strings.ToLower(name), "")
	return strings.Contains(name, "tokens") && !Secret(strings.ReplaceAll(name, "tokens", ""))
}

var (
	// plainCount is a value that such a name may have.
	plainCount = regexp.MustCompile(`^(?i:[0-9]{1,9}|true|false|null|none)$`)
	leadCount  = regexp.MustCompile(`^[\s"']*[=:]?[\s"']*(?i:[0-9]{1,9}|true|false|null|none)(["'\s,;&|)\]}]|$)`)

	nameLike = regexp.MustCompile(`[\pL\pN_.%~$-]+`)
	// assigned is what makes a value of that which follows a name: an equals sign, a colon, or the comma of a pair.
	assigned = regexp.MustCompile(`^[\\"'\x60)\]}\s]*(=|:)|^\\*["'\x60]\s*,`)
	spaced   = regexp.MustCompile(`^\s`)

	userInfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://|://)[^\s]*@|[^\s/"'=:]+:[^\s]+@`)
	schemes  = regexp.MustCompile(`(?i)\b(bearer|basic|digest|negotiate)((?:\s|%20|\+)+)\S+`)
	shapes   = regexp.MustCompile(`(?i)-----BEGIN[\s\S]*|\b(hf_|sk-|pk-|gh[opusr]_|github_pat_|glpat-|xox[a-z]-|nvapi-|akia|aiza|ya29\.|eyj)[A-Za-z0-9_.\-]{6,}\S*`)
	// openEnd is an argument whose value is in the next one.
	openEnd = regexp.MustCompile(`(?i)(=|:)[\s"']*(bearer|basic|digest|negotiate)?[\s"']*$|^(bearer|basic|digest|negotiate)$`)
)

// Redact returns text without what may be a secret in it.
func Redact(text string) string {
	if shown, ok := redactJSON(text, RedactVariable); ok {
		return shown
	}
	text = userInfo.ReplaceAllString(text, "${1}"+Hidden+"@")
	text = schemes.ReplaceAllString(text, "${1}${2}"+Hidden)
	text = shapes.ReplaceAllString(text, Hidden)
	for _, at := range nameLike.FindAllStringIndex(text, -1) {
		name, rest := text[at[0]:at[1]], text[at[1]:]
		if !Secret(name) || countsOnly(name) && leadCount.MatchString(rest) {
			continue
		}
		isOption := strings.HasPrefix(name, "-")
		if end := assigned.FindStringIndex(rest); end != nil {
			return hideFrom(text, at[1]+end[1])
		}
		if isOption && spaced.MatchString(rest) {
			return hideFrom(text, at[1]+1)
		}
	}
	return text
}

// hideFrom hides all that stands from there on, if anything does.
func hideFrom(text string, from int) string {
	if strings.TrimSpace(text[from:]) == "" {
		return text
	}
	return text[:from] + Hidden
}

// redactJSON goes into a JSON value, where names and values can be told apart.
func redactJSON(text string, each func(name, value string) string) (shown string, ok bool) {
	start := strings.TrimLeft(text, " \t\r\n")
	if start == "" || start[0] != '{' && start[0] != '[' {
		return "", false
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return "", false
	}
	if _, err := d.Token(); err != io.EOF {
		return "", false
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(redactValue("", v, each)) != nil {
		return "", false
	}
	return strings.TrimSuffix(b.String(), "\n"), true
}

func redactValue(name string, v any, each func(name, value string) string) any {
	switch v := v.(type) {
	case map[string]any:
		if Secret(name) {
			return Hidden
		}
		shown := make(map[string]any, len(v))
		for key, value := range v {
			shown[Redact(key)] = redactValue(key, value, each)
		}
		return shown
	case []any:
		if Secret(name) {
			return Hidden
		}
		return redactList(v, each)
	case string:
		return each(name, v)
	case json.Number:
		if Secret(name) && !(countsOnly(name) && plainCount.MatchString(v.String())) {
			return Hidden
		}
		return v
	default: // true, false and null hide nothing
		return v
	}
}

// redactList treats text in a list as the words of a command: a name in one may tell what the next is.
func redactList(list []any, each func(name, value string) string) any {
	var command []string
	for _, v := range list {
		text, _ := v.(string)
		command = append(command, text)
	}
	command = RedactCommand(command)
	shown := make([]any, len(list))
	for i, v := range list {
		if _, isText := v.(string); isText || command[i] == Hidden {
			shown[i] = command[i]
		} else {
			shown[i] = redactValue("", v, each)
		}
	}
	return shown
}

// RedactVariable returns the value of a variable, or of anything else that has a name, as it may be shown.
func RedactVariable(name, value string) string {
	if value != "" && Secret(name) && !(countsOnly(name) && plainCount.MatchString(value)) {
		return Hidden
	}
	return Redact(value)
}

// userOptions have a name and a password behind them, by no name that would tell.
var userOptions = []string{"-u", "-U", "--user", "--userpwd", "--proxy-user"}

// RedactCommand returns the words of a command as they may be shown, in their number and order.
func RedactCommand(command []string) []string {
	shown := make([]string, len(command))
	next, more := false, false // the next word is a value; so may those be that follow it
	name := ""                 // of that value
	for i, word := range command {
		isValue := next || more && !strings.HasPrefix(word, "-")
		switch {
		case next && countsOnly(name) && plainCount.MatchString(word):
			shown[i], isValue, more = word, false, false
		case isValue:
			shown[i] = Hidden
		default:
			shown[i], more = Redact(word), false
		}
		// A value may look like a name: then what follows is hidden, too, whichever of them it belongs to.
		awaitsOne, awaitsMore := awaits(word)
		next, more, name = awaitsOne, awaitsMore || isValue && more, word
	}
	return shown
}

// awaits reports whether the next word is the value of a secret that this one names, and whether more values may follow
// that, as vLLM's --api-key takes several.
func awaits(word string) (next, more bool) {
	isOption := strings.HasPrefix(word, "-")
	whole := nameLike.FindString(word) == word && word != ""
	switch {
	case slices.Contains(userOptions, word):
		return true, false
	case whole && Secret(word):
		return true, isOption
	case openEnd.MatchString(word):
		name := word[:len(word)-len(openEnd.FindString(word))]
		return Secret(name) || name == "", true
	default:
		return false, false
	}
}

// shortestValue is how long a value must be to be looked for by itself: a shorter one would hide half of every line.
const shortestValue = 6

// Redactor also hides the values themselves, wherever they turn up: engines print their arguments by other names.
type Redactor struct{ values *strings.Replacer }

// NewRedactor learns the secrets of a command and of an environment (NAME=VALUE).
func NewRedactor(command, environment []string) Redactor {
	var found []string
	learn := func(name, value string) string {
		if RedactVariable(name, value) == Hidden {
			found = append(found, value)
		}
		return value
	}
	shown := RedactCommand(command)
	for i, word := range command {
		if shown[i] == word {
			continue
		}
		if _, ok := redactJSON(word, learn); ok {
			continue
		}
		kept := 0 // what is shown of its beginning
		for kept < len(word) && kept < len(shown[i]) && word[kept] == shown[i][kept] {
			kept++
		}
		if shown[i] == Hidden {
			kept = 0
		}
		found = append(found, word[kept:])
		found = append(found, strings.FieldsFunc(word[kept:], func(r rune) bool { return strings.ContainsRune(" \t\r\n\"'`,;|&=:@/(){}[]", r) })...)
	}
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		learn(name, value)
	}
	found = slices.DeleteFunc(found, func(value string) bool { return len(value) < shortestValue || strings.HasPrefix(value, "-") })
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) }) // a value may begin with another
	var pairs []string
	for _, value := range slices.Compact(found) {
		pairs = append(pairs, value, Hidden)
	}
	return Redactor{strings.NewReplacer(pairs...)}
}

// Text returns text without what may be a secret in it, and without those that are known.
func (r Redactor) Text(text string) string {
	if r.values != nil {
		text = r.values.Replace(text)
	}
	return Redact(text)
}
