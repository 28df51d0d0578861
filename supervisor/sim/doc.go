// Package sim is a simulated inference worker: it speaks HTTP as vLLM does, byte for byte where clients look, computes
// nothing, and misbehaves on request. It is a double for tests and for the demonstration, and says so in each answer
// (the server field, and a system_fingerprint that begins with "sim-"); no model is ever asked.
//
// # What it serves
//
//	GET  /health, /ping         empty: 200, or 503 before it is ready and while it drains
//	GET  /health_generate       likewise, but it asks the engine first, as SGLang's does
//	GET  /metrics               vLLM's names, labels and shapes, and what is true of this worker
//	GET  /v1/models, /version   what vLLM answers there
//	POST /v1/chat/completions   SSE with "stream": true, else one JSON object
//	POST /v1/completions        likewise
//	GET  /sim/state             counters, this life's nonce and pid, the clients that left (type State)
//	GET  /sim/faults            the switches in force (type Faults)
//	POST /sim/faults            a JSON object with the switches to change; those it does not name stay
//	GET  /sim/gpu               with --gpu-state: the simulated GPU and what this worker has of it (type GPUState)
//	POST /sim/gpu               a JSON object with what to change of it (below)
//	ANY  /sim/echo              reads the body and answers its length and SHA-256 with what came of the head (type Echo);
//	                            ?rate=N reads N bytes a second, ?delay=2s waits before it reads,
//	                            ?back=1 sends the bytes back in chunks while it still reads
//
// The bytes are those of reference section 2.6 on vLLM and of uvicorn's HTTP writer: lower-case field names, one chunk
// and one write for each event, the head at once and no event before the prompt is processed, the role chunk first,
// the last token's text in the event that has finish_reason "length" (an event with empty text if it is "stop"),
// usage if stream_options.include_usage asks for it (in each event with continuous_usage_stats), then [DONE].
// One thing is added: system_fingerprint stands in every event, not only in the last, so that a client can tell that
// its whole answer came from one life. The answer's id repeats the request's X-Request-Id if there is one, as vLLM's
// does; error events have Python's spaces, as vLLM's have.
//
// # The text
//
// The text of an answer depends on the prompt alone, so that a checker knows it beforehand. It is meant to be computed
// by a checker's own code from this description, never by this package's.
//
// The prompt P is a string of bytes. Of a chat it is, for each message in turn: its role, a colon, its content, a line
// feed. Content is the string itself; of a list of parts it is the text of the text parts and the url of the image_url
// parts, one after the other, other parts count for nothing; null is empty. Of a completion P is the prompt's string,
// and of a list of token ids their decimal numbers with a comma between.
//
//	seed(P)    = FNV-1a, 64 bits, of P
//	u(P, c, k) = for choice c (from 0) and token k (from 0), modulo 2^64:
//	             z = seed(P) + (c*2^32 + k + 1) * 0x9E3779B97F4A7C15
//	             z = (z XOR z>>30) * 0xBF58476D1CE4E5B9
//	             z = (z XOR z>>27) * 0x94D049BB133111EB
//	             u = z XOR z>>31
//	token k of choice c = piece number (u(P, c, k) mod 16) of this table, in Go's notation:
//
//	 0 " tap"    1 " swipe"     2 " open"        3 " back"         4 " home"    5 " wait"    6 " type"     7 " <answer>"
//	 8 " button" 9 " screen"   10 " 自动auto"   11 " 点击click"   12 "\nnext"  13 " \"ok\"" 14 " C:\\tmp" 15 " 🙂yes"
//
// The text of choice c is its tokens joined with nothing between. How many they are:
//   - max_completion_tokens, else max_tokens, if the request names one: exactly as many, finish_reason "length";
//   - a chat that names none has natural(P, c) = 64 + (u(P, c, 0)>>32 mod 193) tokens and finish_reason "stop";
//     a completion that names none has 16, as in vLLM, and "length";
//   - "ignore_eos": false lets the text end at natural(P, c) with "stop" where that comes before the limit. Unlike in
//     vLLM ignore_eos is true if absent, because a test wants the length that it asked for.
//
// Two examples. A completion of "hello", max_tokens 4: seed 11831194018420276491, " tap wait open <answer>". A chat of
// one user message "Hi", max_tokens 5: P is "user:Hi\n", " home type type 自动auto 点击click".
//
// The id of a piece is its number in the table, 16 that of the end token. With "return_token_ids" each event tells the
// ids of its tokens, and the first of a choice (the role's event, of a chat) those of the prompt: 17, and then for each
// whole group of four bytes of P their value, the highest byte first, modulo 151552; of a prompt of ids, these.
//
// Usage: prompt_tokens is 1 + len(P)/4, completion_tokens counts the end token of a "stop" as vLLM does.
//
// # Start and end
//
// The address is bound at once, but until the start delay is over connecting to it is refused, as with vLLM; with
// listen-early it answers everything with 503 instead, as SGLang does. SIGTERM does what on_term says. The default is
// vLLM 0.12's way: a worker with nothing open leaves at once, and one with open answers cuts them and leaves.
//
// # Switches
//
// Each fault has a flag (RegisterFlags) and a key of the same name in /sim/faults; what concerns one answer (type
// Stream) can also be set for a single request by the header X-Sim with a JSON object of those keys, which a relay
// passes on. A change at run time reaches new requests; hang, on_term and crash_after_tokens reach the open ones too.
// Echoes obey interim, early_status and early_reset.
//
// What a judge of health must tell apart:
//   - saturated: every probe of it times out, one that asks for a token too, while tokens flow;
//   - hung: hang "engine", where /health and /v1/models are well and no stream gets a byte;
//   - dead at the front: hang "server", where connecting succeeds and nothing else;
//   - a long prompt: X-Sim with {"prefill":"10m"} on the requests that have one. Nothing is wrong, and others are answered.
//
// A client's disconnect is noticed by a read that is always pending, so at once, while the prompt is processed, between
// tokens and while hanging; as in uvicorn a half-closed connection counts as gone. /sim/state lists when each was
// noticed on the wall clock, for the checker to subtract the time at which it closed.
//
// # A GPU
//
// With gpu-state the worker plays a worker's memory in the state file of the double of NVIDIA's library (gpu/nvml/double), which
// shows it to whoever reads NVML. No GPU is asked, and the device's name says that it is a double's. The model is taken over the
// start delay; then there are gpu-leak MiB a minute (of a clock that runs gpu-pace times as fast), and gpu-step MiB at each of
// the first gpu-stairs requests for an answer. What no longer fits ends the worker: "CUDA out of memory (simulated)", status 1.
//
// When the process that has the memory ends, however it does, the library lists it no more, and has its bytes in use until
// gpu-release after that. This counts from when the file was last brought up to date, so from up to 100 ms before the end; of a
// process that was stopped before it was killed, from when it was stopped. With gpu-pid "child" the process is the first of the
// children: an orphan keeps the memory as long as it lives.
//
// The next life with the file finds what the last one left: the GPU and its size, memory that isn't given back yet, events, and
// what was switched on of the machine's.
//
// POST /sim/gpu takes, of this worker: leak (MiB a minute from now on), step (MiB, once), contexts (0 to 16 more processes with
// 248 MiB each, which end with the worker); and of the machine: xid (a code: an event, once), lost (true: the GPU has fallen off
// the bus), recovery (what the driver wants done, by NVML's numbers), hang (a duration: how long each call of the library takes).
// These say only what the library says: this worker serves on, on a lost GPU too.
package sim
