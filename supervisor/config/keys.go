package config

import (
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// key is one key of the file. The table of all keys is what the file is read by, what the flags of run come from, what
// `config show` shows, what an editor's schema is made of and what a test holds docs/configuration.md against; so none
// of them can know more, or other bounds, than the rest.
type key struct {
	name  string
	form  form   // how its value is written
	field string // where it goes, of the struct that the object describes; empty: an object of the same struct
	flag  string // of run, without --; empty: it has none
	help  string // a word in `backquotes` is what the flag's value is called
}

// object is a mapping of the file, with its keys in the order in which they are shown.
type object []key

// keys is the table: the file as a whole. It is a function because the forms of lists lead back to defaults.
func keys() object {
	return object{
		{name: "name", field: "Name", form: text(CheckName), flag: "name", help: "name of this sidecar, of a-z, 0-9 and -"},
		{name: "mode", field: "Mode", form: oneOf(Act, Observe), flag: "mode", help: "`WHAT` to do about decisions: act, or observe: decide, log and count, and restart only when told to"},
		{name: "engine", field: "Engine", form: oneOf(EngineAuto, VLLM, SGLang, LlamaCpp, Generic), flag: "engine", help: "`NAME` of the engine whose habits are the defaults: vllm, sglang, llamacpp or generic; auto: as the command looks"},
		{name: "fronts", field: "Fronts", form: list{of: front, least: 1, most: MostFronts, fresh: func() any { return DefaultFront("") }}, flag: "listen", help: "`ADDR` or unix:PATH that clients connect to; may be repeated"},
		{name: "worker", form: worker, help: "the inference server, and how it is run"},
		{name: "drain", field: "Drain", form: span(1, ""), flag: "drain", help: "how long a restart waits for open streams; then it is postponed"},
		{name: "hold", field: "Hold", form: hold, flag: "hold", help: "how `LONG` a new stream waits at most while no worker serves; 0: refused at once, auto: drain + start deadline"},
		{name: "heartbeat", field: "Heartbeat", form: span(leastHeartbeat, "none"), flag: "heartbeat", help: "silence of an event stream before a comment is sent; 0: none"},
		{name: "queue", form: queue, field: "Queue", help: "how many streams the worker has at once"},
		{name: "replay", form: replay, field: "Replay", help: "which requests are given to a second life"},
		{name: "limits", form: limits, field: "Limits", help: "what clients may do"},
		{name: "pulse", form: pulse, field: "Pulse", help: "how the health of a serving worker is judged"},
		{name: "gpu", form: gpu, field: "GPU", help: "which devices the worker has, and what follows from what is seen of them"},
		{name: "windows", field: "Windows", form: windows, help: "when a planned restart may happen; none: at any time"},
		{name: "max_age", field: "MaxAge", form: span(time.Minute, "none"), flag: "max-age", help: "how long a life may run before it is replaced at a quiet moment; 0: as long as it does"},
		{name: "max_age_jitter", field: "MaxAgeJitter", form: share(0, 1, "none"), help: "share of it that is left to chance"},
		{name: "ready", field: "Ready", form: oneOf(ReadyHolding, ReadyServing), help: "when /readyz is 200: holding, while a new stream would be taken, now or after a hold; serving, only while the gate is open"},
		{name: "http", field: "HTTP", form: text(checkHTTP), flag: "http", help: "`ADDR` for /livez, /readyz and /metrics, or off"},
		{name: "control", field: "Control", form: text(nil), flag: "control", help: "`PATH` of the control socket (default: NAME.sock in the runtime directory)"},
		{name: "state", field: "State", form: text(nil), flag: "state", help: "`DIR` of the ledger (default: NAME in the state directory)"},
	}
}

var worker = object{
	{name: "command", field: "Command", form: words{}, help: "program and arguments; {port} and {socket} become where it shall listen. With it no COMMAND behind --"},
	{name: "upstream", field: "Upstream", form: text(checkUpstream), flag: "upstream", help: "`ADDR` or unix:PATH of the worker, if COMMAND has no {port} or {socket}"},
	{name: "user", field: "User", form: text(nil), help: "whom the worker runs as; only root can say it"},
	{name: "environment", field: "Environment", form: variables{}, help: "variables that the worker gets beside the sidecar's own"},
	{name: "memory_share", field: "MemoryShare", form: share(0.01, 1, "not said"), help: "how much of each GPU's memory the worker may take"},
	{name: "start_deadline", field: "StartDeadline", form: span(1, ""), flag: "start-deadline", help: "how long a starting worker may show no progress"},
	{name: "stop_grace", field: "StopGrace", form: span(1, ""), flag: "stop-grace", help: "how long a worker has from TERM to KILL"},
	{name: "probe", field: "Probe", form: text(checkProbe), flag: "probe", help: "`HOW` a worker is seen to be ready: tcp, or http:/PATH; auto: as its engine is asked"},
	{name: "probe_timeout", field: "ProbeTimeout", form: span(100*time.Millisecond, ""), help: "how long one such question may take"},
}

var front = object{
	{name: "listen", field: "Listen", form: text(nil), help: "HOST:PORT or unix:PATH that clients connect to"},
	{name: "early_after", field: "EarlyAfter", form: span(time.Second, "never"), help: "how long a request for an event stream waits before its answer is begun without the worker"},
	{name: "forwarded", field: "Forwarded", form: oneOf(ForwardedOff, ForwardedForX, ForwardedRFC), help: "the field by which the worker learns of its client's address"},
	{name: "trusted", field: "Trusted", form: networks{}, help: "addresses of proxies whose own Forwarded or X-Forwarded-For is believed"},
}

var queue = object{
	{name: "concurrency", field: "Concurrency", form: whole(1, 1<<20, "no bound"), help: "streams that the worker has at once; more wait, each client address in its turn"},
}

var replay = object{
	{name: "paths", field: "Paths", form: words{good: checkPath, empty: true}, help: "ends of the paths whose POST may be sent again"},
	{name: "budget", field: "Budget", form: size(1<<20, 1<<40, "512 MiB, or a quarter of the cgroup's limit if that is less"), help: "memory for all copies of bodies together"},
	{name: "per_request", field: "PerRequest", form: size(1<<10, 1<<30, ""), help: "memory for the copy of one body"},
}

var limits = object{
	{name: "connections", field: "Connections", form: whole(1, MostConnections, ""), flag: "max-connections", help: "client connections at a time"},
	{name: "per_address", field: "PerAddress", form: whole(1, MostConnections, "no bound"), help: "of these, from one client address"},
	{name: "head_size", field: "HeadSize", form: size(1<<10, mostHead, ""), help: "size of a request's head"},
	{name: "head_time", field: "HeadTime", form: span(time.Second, ""), help: "how long a request's head may take"},
	{name: "body_rate", field: "BodyRate", form: rate("no bound"), help: "how fast the body of a request must come"},
	{name: "body_grace", field: "BodyGrace", form: span(time.Second, "asked for at once"), help: "how long before that rate is asked for"},
	{name: "stalled", field: "Stalled", form: span(time.Second, "no bound"), help: "how long a client may take nothing of its answer"},
	{name: "idle", field: "Idle", form: span(time.Second, "no bound"), help: "how long a client's connection may wait for its next request"},
	{name: "user_timeout", field: "UserTimeout", form: span(time.Second, "the kernel's own"), help: "how long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT)"},
	{name: "keep_alive", field: "KeepAlive", form: span(time.Second, "off"), help: "silence before TCP asks whether a client is still there"},
	{name: "keep_interval", field: "KeepInterval", form: span(time.Second, ""), help: "how often it asks then"},
	{name: "keep_count", field: "KeepCount", form: whole(1, 127, ""), help: "how many questions may stay unanswered"},
	{name: "send_buffer", field: "SendBuffer", form: size(4<<10, 1<<30, "the kernel's own choice"), help: "SO_SNDBUF of a client's connection"},
	{name: "receive_buffer", field: "ReceiveBuf", form: size(4<<10, 1<<30, "the kernel's own choice"), help: "SO_RCVBUF of a client's connection"},
	{name: "worker_idle", field: "WorkerIdle", form: span(100*time.Millisecond, "none is kept"), help: "how long a connection to the worker is kept for the next request"},
}

var pulse = object{
	{name: "probes", field: "Probes", form: list{of: pulseProbe, most: 16, fresh: func() any { return DefaultPulseProbe() }}, help: "questions to a serving worker; not said: those of its engine"},
	{name: "hung", field: "Hung", form: span(time.Second, "never"), help: "streams are open and none got a byte for so long: hung, if a generate probe fails too"},
	{name: "veto", field: "Veto", form: span(time.Second, ""), help: "no probe's failure stops a worker of which a stream got a byte so recently"},
	{name: "prefill", field: "Prefill", form: span(time.Second, "none"), help: "how long a stream may wait for its first byte before it counts for hung"},
	{name: "window", field: "Window", form: span(time.Second, ""), help: "over which refused, reset, failed and late answers are counted"},
	{name: "passive", field: "Passive", form: share(0, 1, "one is too many"), help: "share of the window's answers that may fail"},
}

var pulseProbe = object{
	{name: "kind", field: "Kind", form: oneOf("tcp", "http", "exec", "generate"), help: "tcp: it accepts; http: GET is answered with 2xx; exec: a command ends with 0; generate: one token is made"},
	{name: "path", field: "Path", form: text(checkPath), help: "of http and generate"},
	{name: "command", field: "Command", form: words{}, help: "of exec"},
	{name: "model", field: "Model", form: text(nil), help: "of generate; not said: the worker's first"},
	{name: "interval", field: "Interval", form: span(100*time.Millisecond, ""), help: "from one question to the next"},
	{name: "timeout", field: "Timeout", form: span(10*time.Millisecond, ""), help: "how long an answer may take"},
	{name: "jitter", field: "Jitter", form: share(0, 1, "none"), help: "share of the interval that is left to chance"},
	{name: "rise", field: "Rise", form: whole(1, 1000, ""), help: "successes in a row that make it well"},
	{name: "fall", field: "Fall", form: whole(1, 1000, ""), help: "failures in a row that make it sick"},
}

// mostHead is what a slot has room for (docs/limits.md).
const mostHead = 60 << 10

// at returns where the key's value lies in the struct that its object describes.
func (k key) at(v reflect.Value) reflect.Value {
	if k.field == "" {
		return v
	}
	return v.FieldByName(k.field)
}

// named returns the key of a name.
func (o object) named(name string) (key, bool) {
	for _, k := range o {
		if k.name == name {
			return k, true
		}
	}
	return key{}, false
}

// below returns the path of a key in the object at path.
func below(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// element returns the path of an element in the list at path.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// each calls f for every key, objects before what is in them. Those of a list's elements have paths as in fronts[].
func (o object) each(path string, f func(path string, k key)) {
	for _, k := range o {
		at := below(path, k.name)
		f(at, k)
		switch form := k.form.(type) {
		case object:
			form.each(at, f)
		case list:
			form.of.each(at+"[]", f)
		}
	}
}

// keyAt returns the key at a path, in a list's elements, too.
func keyAt(path string) (found key, known bool) {
	path = numbers.ReplaceAllString(path, "[]")
	keys().each("", func(at string, k key) {
		if at == path {
			found, known = k, true
		}
	})
	return found, known
}

var numbers = regexp.MustCompile(`\[[0-9]+\]`)

// flagOf returns the flag that says the same as the key, or as the list that it lies in (fronts[0].listen is a --listen);
// without --, and empty: there is none.
func flagOf(path string) string {
	k, _ := keyAt(path)
	if list, _, inside := strings.Cut(path, "["); k.flag == "" && inside {
		k, _ = keyAt(list)
	}
	return k.flag
}

// isText reports whether the key's value is any text, which is quoted in what people are told.
func isText(path string) bool {
	k, known := keyAt(path)
	s, isScalar := k.form.(scalar)
	return !known || !isScalar || s.typ.Kind() == reflect.String
}
