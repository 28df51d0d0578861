package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Roles that this program plays as a process of its own.
const (
	roleWorker       = "worker"
	roleReverseProxy = "reverse-proxy"
)

// Names of the fronts.
const (
	directName  = "direct"
	sidecarName = "sidecar"
	haproxyName = "haproxy"
	nginxName   = "nginx"
	goName      = "go ReverseProxy"
)

// front is one way from the clients to the worker.
type front struct {
	name    string
	command func(b *bench, listen, worker string) ([]string, error) // nil: none, the clients connect to the worker
}

func (f front) called() string { return f.name }

var allFronts = []front{
	{directName, nil},
	{sidecarName, sidecarCommand},
	{haproxyName, haproxyCommand},
	{nginxName, nginxCommand},
	{goName, func(_ *bench, listen, worker string) ([]string, error) {
		self, err := os.Executable()
		return []string{self, roleReverseProxy, listen, worker}, err
	}},
}

// sidecarCommand: the default settings, with every feature on. Only the places of its files are said.
func sidecarCommand(b *bench, listen, worker string) ([]string, error) {
	program, err := filepath.Abs(b.program)
	if err != nil {
		return nil, err
	}
	return []string{
		program, "run", "--name", "bench", "--listen", listen, "--upstream", worker,
		"--control", filepath.Join(b.dir, "c.sock"), "--state", filepath.Join(b.dir, "state"), "--http", "127.0.0.1:0",
	}, nil
}

// haproxyConfig asks for what the sidecar does: HTTP/1.1 both ways, connections to the worker reused, no retries.
const haproxyConfig = `global
    maxconn 8192
defaults
    mode http
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 10m
    retries 0
    option http-no-delay
frontend front
    bind LISTEN
    option forwardfor
    default_backend worker
backend worker
    http-reuse safe
    server worker WORKER
`

func haproxyCommand(b *bench, listen, worker string) ([]string, error) {
	file, err := b.configFile("haproxy.cfg", haproxyConfig, listen, worker)
	return []string{"haproxy", "-db", "-q", "-f", file}, err
}

const nginxConfig = `daemon off;
worker_processes auto;
pid DIR/nginx.pid;
error_log DIR/nginx.log;
events { worker_connections 8192; }
http {
    access_log off;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    upstream worker { server WORKER; keepalive 64; }
    server {
        listen LISTEN;
        tcp_nodelay on;
        keepalive_requests 1000000;
        location / {
            proxy_pass http://worker;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering off;
            proxy_next_upstream off;
            proxy_read_timeout 1h;
        }
    }
}
`

func nginxCommand(b *bench, listen, worker string) ([]string, error) {
	file, err := b.configFile("nginx.conf", nginxConfig, listen, worker)
	return []string{"nginx", "-c", file, "-e", filepath.Join(b.dir, "nginx.log")}, err
}

// configFile writes a peer's configuration with its places filled in.
func (b *bench) configFile(name, text, listen, worker string) (string, error) {
	path := filepath.Join(b.dir, name)
	text = strings.NewReplacer("LISTEN", listen, "WORKER", worker, "DIR", b.dir).Replace(text)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// serveReverseProxy is the standard library's proxy, with nothing that would slow it.
func serveReverseProxy(listen, worker string) error {
	to, err := url.Parse("http://" + worker)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.SetXForwarded()
		},
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	server := &http.Server{Addr: listen, Handler: proxy}
	return server.ListenAndServe()
}

// process is something that was started, and is ended by us.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
}

// start runs a command of which somebody listens at address soon.
func (b *bench) start(ctx context.Context, name, address string, command []string) (*process, error) {
	cmd := exec.Command(command[0], command[1:]...)
	out, err := os.Create(filepath.Join(b.dir, strings.ReplaceAll(name, " ", "-")+".out"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+b.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (Debian's package has that name)", name, err)
	}
	p := &process{name: name, cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its output
		close(p.exited)
	}()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return p, c.Close()
		}
		select {
		case <-p.exited:
			said, _ := os.ReadFile(out.Name())
			return nil, fmt.Errorf("%s ended at once: %s", name, said)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), p.stop())
		default:
		}
		if time.Since(began) > 10*time.Second {
			return nil, errors.Join(fmt.Errorf("%s doesn't listen at %s", name, address), p.stop())
		}
	}
}

// stop ends a process, and waits for it.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGKILL} {
		if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop %s: %w", p.name, err)
		}
		select {
		case <-p.exited:
			return nil
		case <-time.After(3 * time.Second):
		}
	}
	<-p.exited
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
