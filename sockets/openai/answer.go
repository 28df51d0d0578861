package openai

import (
	"encoding/json"
	"strings"

	"autoglm-sidecar/sockets/sse"
)

// failure is the error object of OpenAI's API, which its SDKs read from a refusal's body and from an event alike.
type failure struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

// AppendErrorBody appends the JSON body of an answer that refuses or fails a request: {"error":{...}}. The code is for
// programs, the message for people; a message that is not UTF-8 is made so.
func AppendErrorBody(dst []byte, code, message string) []byte {
	body, err := json.Marshal(map[string]failure{"error": {Message: message, Type: "server_error", Code: code}})
	if err != nil {
		panic(err) // plain strings: there is nothing that could not be encoded
	}
	return append(dst, body...)
}

// AppendErrorEvent appends the event that tells a client that its answer was cut: openai-python, openai-node and
// openai-go all raise an error with the message. It is one line whatever the message holds. It may be sent only between
// two events, and the end of the body that follows must not look like a clean one.
func AppendErrorEvent(dst []byte, code, message string) []byte {
	dst = append(dst, "data: "...)
	dst = AppendErrorBody(dst, code, message)
	return append(dst, "\n\n"...)
}

// maxMessage bounds what ErrorMessage returns, in bytes.
const maxMessage = 512

// ErrorMessage returns what a worker says in an event that was judged ErrorEvent, for our own event and the log: a user
// whose prompt was too long shall read that and not only that something failed. It is empty if the event has no words.
func ErrorMessage(event []byte) string {
	text := sse.Data(nil, event)
	for name, value := range sse.Fields(event) {
		if string(name) == "error" {
			text = value
		}
	}
	return BodyMessage(text)
}

// BodyMessage returns what a worker says in an error's body: {"error": {"message": ...}} as of OpenAI's API, {"message": ...}
// of older vLLMs, or FastAPI's {"detail": ...}. It is empty if the body has no words.
func BodyMessage(body []byte) string {
	var said struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	message := said.Message
	if message == "" && len(said.Error) == 0 {
		_ = json.Unmarshal(said.Detail, &message) // where it is no string it has no words
	}
	var inner struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(said.Error, &inner) == nil && inner.Message != "" {
		message = inner.Message
	} else if message == "" && len(said.Error) > 0 && json.Unmarshal(said.Error, &message) != nil {
		return ""
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	return message
}
