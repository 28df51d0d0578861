package sim

import (
	"net/http"
	"strconv"
	"time"
)

// serverName labels every answer as a double's; vLLM's says uvicorn.
const serverName = "autoglm-sidecar-sim"

// appendHead appends a response head as uvicorn writes it: lower-case names, date and server first, then fields (names
// and values in turn).
func appendHead(dst []byte, proto string, status int, now time.Time, fields ...string) []byte {
	dst = append(dst, proto...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(status)...)
	dst = append(dst, "\r\ndate: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	dst = append(dst, "\r\nserver: "+serverName+"\r\n"...)
	for i := 0; i < len(fields); i += 2 {
		dst = append(dst, fields[i]...)
		dst = append(dst, ": "...)
		dst = append(dst, fields[i+1]...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// appendPlain appends a whole answer with a Content-Length. A HEAD request gets the head alone.
func appendPlain(dst []byte, r *http.Request, status int, now time.Time, contentType string, body []byte, fields ...string) []byte {
	fields = append([]string{"content-length", strconv.Itoa(len(body))}, fields...)
	if contentType != "" {
		fields = append(fields, "content-type", contentType)
	}
	if r.Close {
		fields = append(fields, "connection", "close")
	}
	dst = appendHead(dst, "HTTP/1.1", status, now, fields...)
	if r.Method == http.MethodHead {
		return dst
	}
	return append(dst, body...)
}

// appendChunk appends data as one chunk.
func appendChunk(dst, data []byte) []byte {
	dst = strconv.AppendUint(dst, uint64(len(data)), 16)
	dst = append(dst, "\r\n"...)
	dst = append(dst, data...)
	return append(dst, "\r\n"...)
}

// appendInterim appends a 1xx answer.
func appendInterim(dst []byte, status int) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(status)...)
	if status == http.StatusEarlyHints {
		dst = append(dst, "\r\nlink: </simulated.css>; rel=preload"...)
	}
	return append(dst, "\r\n\r\n"...)
}
