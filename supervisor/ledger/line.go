package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
)

// A line is {"sum":"1a2b3c4d","restart":{...}} and its end. The sum is the CRC-32C of the value's bytes as they stand
// there, so that a line can be judged before anything reads it as JSON. What the value is stands where "restart" does.
const (
	beforeSum = `{"sum":"`
	sumDigits = 8
	afterLine = `}`
)

func beforeValue(key string) string { return `","` + key + `":` }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode returns the restart as one line with its end.
func encode(e Entry) ([]byte, error) { return encodeAs("restart", e) }

// decode reads one line, without its end; false: it is damaged.
func decode(line []byte) (Entry, bool) {
	var e Entry
	if !decodeAs("restart", line, &e) {
		return Entry{}, false
	}
	if len(e.Memory) == 0 {
		e.Memory = nil // an empty list is no memory either
	}
	return e, true
}

func encodeAs(key string, v any) ([]byte, error) {
	text, err := json.Marshal(v) // no line end in it: JSON escapes those in strings
	if err != nil {
		return nil, err
	}
	line := fmt.Appendf(nil, "%s%08x%s", beforeSum, crc32.Checksum(text, castagnoli), beforeValue(key))
	line = append(line, text...)
	return append(line, afterLine+"\n"...), nil
}

func decodeAs(key string, line []byte, into any) bool {
	at := len(beforeSum) + sumDigits + len(beforeValue(key))
	text, ok := bytes.CutSuffix(line, []byte(afterLine))
	if !ok || len(text) < at {
		return false
	}
	text = text[at:]
	head := fmt.Sprintf("%s%08x%s", beforeSum, crc32.Checksum(text, castagnoli), beforeValue(key))
	return string(line[:at]) == head && json.Unmarshal(text, into) == nil
}
