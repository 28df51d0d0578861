package sse

import (
	"bytes"
	"testing"
)

// token is an event as vLLM sends one for each token.
const token = `data: {"id":"chatcmpl-9f2d6c1e8b7a4f0d9c3e5a7b1d2f4e6a","object":"chat.completion.chunk","created":1764000000,` +
	`"model":"autoglm-phone-9b","choices":[{"index":0,"delta":{"content":" Settings"},"logprobs":null,` +
	`"finish_reason":null,"token_ids":null}]}` + "\n\n"

func BenchmarkNextOneEvent(b *testing.B) {
	event := []byte(token)
	var s Scanner
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	for b.Loop() {
		if s.Next(event) != len(event) {
			b.Fatal("no end found")
		}
	}
}

func BenchmarkNextManyEvents(b *testing.B) {
	const events = 64
	p := bytes.Repeat([]byte(token), events)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ends := countEnds(p); ends != events {
			b.Fatalf("%d ends, want %d", ends, events)
		}
	}
}

// BenchmarkNextManyCRs is the stream that costs most: each byte is a line, and each line ends with CR.
func BenchmarkNextManyCRs(b *testing.B) {
	p := bytes.Repeat([]byte("x\r\r"), 1<<14)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		countEnds(p)
	}
}

func BenchmarkData(b *testing.B) {
	event := []byte(token)
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	for b.Loop() {
		if Data(nil, event) == nil {
			b.Fatal("no data")
		}
	}
}

func countEnds(p []byte) (s Scanner, ends int) {
	for {
		n := s.Next(p)
		if n < 0 {
			return s, ends
		}
		p = p[n:]
		ends++
	}
}
