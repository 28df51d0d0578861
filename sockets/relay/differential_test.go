package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
)

// serve runs a relay on the real kernel in front of a worker, until the test ends. It returns the front's address.
func serve(t *testing.T, to kernel.Address) string {
	t.Helper()
	front, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := front.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	front.Close() // the duplicate listens on
	fd := int(file.Fd())
	if err := unix.SetNonblock(fd, true); err != nil { // Fd made it blocking
		t.Fatal(err)
	}
	r, err := New(Options{
		Arena: arena.OnHeap(64), Kernel: kernel.Linux{}, Log: slog.New(slog.DiscardHandler), Fronts: []Front{{FD: fd}}, Lanes: 2,
		Hold: time.Minute, Heartbeat: 10 * time.Second, WorkerIdle: 2 * time.Second,
		Replay: Replay{Paths: []string{"/"}, PerRequest: 1 << 20}, Drained: func(int64) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Serve() }()
	r.Open(1, to)
	t.Cleanup(func() {
		r.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		file.Close()
	})
	return front.Addr().String()
}

// shape is what a generated exchange looks like; it travels in the request's query.
type shape struct {
	method  string
	up      int  // bytes of the request's body
	chunked bool // it goes in chunks
	down    int  // bytes of the answer's
	framing string
	status  int
	trailer bool
	pieces  int
}

func randomShape(random *rand.Rand) shape {
	pick := func(all ...string) string { return all[random.IntN(len(all))] }
	s := shape{
		method: pick("GET", "POST", "PUT", "HEAD", "DELETE"), down: random.IntN(1 << random.IntN(18)),
		framing: pick("length", "chunked", "close"), status: []int{200, 200, 201, 404, 500, 204, 304}[random.IntN(7)],
		pieces: 1 + random.IntN(5),
	}
	if s.method == "POST" || s.method == "PUT" {
		s.up, s.chunked = random.IntN(1<<random.IntN(20)), random.IntN(2) == 0
	}
	s.trailer = s.framing == "chunked" && random.IntN(2) == 0
	return s
}

func (s shape) query() string {
	return fmt.Sprintf("/?down=%d&framing=%s&status=%d&trailer=%v&pieces=%d", s.down, s.framing, s.status, s.trailer, s.pieces)
}

// worker answers as the query asks, after it has read the request's body, whose length and sum it tells.
func worker(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	q := r.URL.Query()
	down, _ := strconv.Atoi(q.Get("down"))
	status, _ := strconv.Atoi(q.Get("status"))
	pieces, _ := strconv.Atoi(q.Get("pieces"))
	var sum int
	for i, b := range body {
		sum = (sum*31 + int(b) + i) % 1_000_003
	}
	w.Header().Set("X-Got", fmt.Sprintf("%s %d %d", r.Method, len(body), sum))
	w.Header()["X-Odd-Case"] = []string{"a", "b"}
	out := pattern(down)
	switch q.Get("framing") {
	case "length":
		w.Header().Set("Content-Length", strconv.Itoa(down))
	case "close":
		w.Header().Set("Connection", "close")
	}
	if q.Get("trailer") == "true" {
		w.Header().Set("Trailer", "X-Sum")
	}
	w.WriteHeader(status)
	for i := range pieces {
		io.WriteString(w, out[down*i/pieces:down*(i+1)/pieces])
		if q.Get("framing") == "chunked" {
			http.NewResponseController(w).Flush()
		}
	}
	if q.Get("trailer") == "true" {
		w.Header().Set("X-Sum", strconv.Itoa(down))
	}
}

// told is what a client is told, less what is between it and its peer.
type told struct {
	Status  int
	Header  http.Header
	Body    string
	Trailer http.Header
	Err     bool
}

func ask(t *testing.T, client *http.Client, address string, s shape) told {
	t.Helper()
	var body io.Reader
	if s.up > 0 {
		body = strings.NewReader(pattern(s.up))
		if s.chunked {
			body = struct{ io.Reader }{body}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, s.method, "http://"+address+s.query(), body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Do(q)
	if err != nil {
		t.Logf("%+v: %v", s, err)
		return told{Err: true}
	}
	defer r.Body.Close()
	all, err := io.ReadAll(r.Body)
	for _, name := range []string{"Date", "X-Request-Id", "Connection", "Content-Length"} {
		r.Header.Del(name)
	}
	if s.method == http.MethodHead || r.StatusCode == 204 || r.StatusCode == 304 {
		r.Header.Del("Trailer") // there is nothing that they could follow
	}
	return told{r.StatusCode, r.Header, string(all), r.Trailer, err != nil}
}

// TestClientsAreToldTheSameWithAndWithoutUs asks a net/http worker directly and through the relay, over one connection
// each, and compares what a net/http client is told.
func TestClientsAreToldTheSameWithAndWithoutUs(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			at := "127.0.0.1:0"
			if network == "unix" {
				at = filepath.Join(t.TempDir(), "worker.sock")
			}
			l, err := new(net.ListenConfig).Listen(t.Context(), network, at)
			if err != nil {
				t.Fatal(err)
			}
			server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(worker)}}
			server.Start()
			defer server.Close()
			to := kernel.Address{Unix: at}
			if network == "tcp" {
				to = kernel.Address{TCP: netip.MustParseAddrPort(l.Addr().String())}
			}
			front := serve(t, to)

			direct := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
			}}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			through := &http.Client{Transport: &http.Transport{}, CheckRedirect: direct.CheckRedirect}
			defer direct.CloseIdleConnections()
			defer through.CloseIdleConnections()
			random := rand.New(rand.NewPCG(7, 7))
			for range 300 {
				s := randomShape(random)
				want, got := ask(t, direct, "worker", s), ask(t, through, front, s)
				if !reflect.DeepEqual(want, got) {
					want.Body, got.Body = brief(want.Body), brief(got.Body)
					t.Fatalf("%+v\ndirectly: %+v\nthrough:  %+v", s, want, got)
				}
			}
		})
	}
}

func brief(body string) string {
	if len(body) < 200 {
		return body
	}
	return fmt.Sprintf("%s... (%d bytes)", body[:100], len(body))
}

// TestHostileHeadsNeverReachTheWorker sends each shape over its own connection, with a smuggled request behind it.
func TestHostileHeadsNeverReachTheWorker(t *testing.T) {
	reached := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.URL.Path }))
	defer server.Close()
	front := serve(t, kernel.Address{TCP: netip.MustParseAddrPort(server.Listener.Addr().String())})
	for name, head := range map[string]string{
		"bare LF":                  "GET /x HTTP/1.1\nHost: x\n\n",
		"LF in a field":            "GET /x HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
		"obs-fold":                 "GET /x HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
		"length and chunked":       "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":              "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"length list":              "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n",
		"plus":                     "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
		"space before colon":       "GET /x HTTP/1.1\r\nHost : x\r\n\r\n",
		"no host":                  "GET /x HTTP/1.1\r\n\r\n",
		"two hosts":                "GET /x HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
		"NUL":                      "GET /x HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
		"version 1.9":              "GET /x HTTP/1.9\r\nHost: x\r\n\r\n",
		"connection names host":    "GET /x HTTP/1.1\r\nHost: x\r\nConnection: host\r\n\r\n",
		"connection names length":  "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: content-length\r\n\r\n",
		"chunked twice":            "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
		"chunked in disguise":      "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
		"chunked with tab":         "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
		"endless head":             "GET /x HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: "+pattern(1000)+"\r\n", 200),
		"no request at all":        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"leading space in version": "GET /x  HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", front)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			go io.WriteString(c, head+"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
			got, _ := io.ReadAll(c)
			if !bytes.HasPrefix(got, []byte("HTTP/1.1 4")) && !bytes.HasPrefix(got, []byte("HTTP/1.1 5")) || bytes.Count(got, []byte("HTTP/1.1 ")) != 1 {
				t.Errorf("got %q, want one refusal and a closed connection", got)
			}
		})
	}
	select {
	case path := <-reached:
		t.Errorf("%s reached the worker", path)
	default:
	}
}
