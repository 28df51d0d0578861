package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

const mostBody = 4 << 10 // bytes of a request: ours have some twenty

// reply sends v as the JSON body of an answer.
func reply(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // the peer may be gone: nobody is left to be told
}

// errorBody is the body of every answer that is no success.
type errorBody struct {
	Error Refusal `json:"error"`
}

func replyError(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, errorBody{Refusal{Code: code, Message: message}})
}

// replyRefusal sends what a Backend returned as its error.
func replyRefusal(w http.ResponseWriter, err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	switch {
	case !ok:
		replyError(w, http.StatusInternalServerError, internalError, err.Error())
	case refusal.Code == UnknownRestart:
		reply(w, http.StatusNotFound, errorBody{*refusal})
	case refusal.Code == BadRequest:
		reply(w, http.StatusBadRequest, errorBody{*refusal})
	default:
		reply(w, http.StatusConflict, errorBody{*refusal})
	}
}

// decode reads the one JSON object of a request into v; no body at all leaves v as it is. A field that v lacks is an
// error: the sender meant something that wouldn't happen.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}

// only answers what other methods than those allowed get.
func only(allowed string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed)
		replyError(w, http.StatusMethodNotAllowed, MethodNotAllowed, r.URL.Path+" takes "+allowed+" only")
	}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	replyError(w, http.StatusNotFound, NotFound, "there is no "+r.URL.Path)
}
