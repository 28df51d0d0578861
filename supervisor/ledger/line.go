package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"autoglm-sidecar/supervisor"
)

// A line is {"sum":"1a2b3c4d","restart":{...}} and its end. The sum is the CRC-32C of the restart's bytes as they stand
// there, so that a line can be judged before anything reads it as JSON.
const (
	beforeSum     = `{"sum":"`
	sumDigits     = 8
	beforeRestart = `","restart":`
	afterRestart  = `}`

	restartAt = len(beforeSum) + sumDigits + len(beforeRestart)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode returns the restart as one line with its end.
func encode(r supervisor.Restart) ([]byte, error) {
	text, err := json.Marshal(r) // no line end in it: JSON escapes those in strings
	if err != nil {
		return nil, err
	}
	line := make([]byte, 0, restartAt+len(text)+len(afterRestart)+1)
	line = fmt.Appendf(line, "%s%08x%s", beforeSum, crc32.Checksum(text, castagnoli), beforeRestart)
	line = append(line, text...)
	return append(line, afterRestart+"\n"...), nil
}

// decode reads one line, without its end; false: it is damaged.
func decode(line []byte) (supervisor.Restart, bool) {
	var r supervisor.Restart
	text, ok := bytes.CutSuffix(line, []byte(afterRestart))
	if !ok || len(text) < restartAt {
		return r, false
	}
	text = text[restartAt:]
	head := fmt.Sprintf("%s%08x%s", beforeSum, crc32.Checksum(text, castagnoli), beforeRestart)
	if string(line[:restartAt]) != head || json.Unmarshal(text, &r) != nil {
		return supervisor.Restart{}, false
	}
	return r, true
}
