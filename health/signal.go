package health

// Signal is one fact about one life that bears on its health. The zero Signal says nothing.
type Signal struct {
	Life int64
	// About says what was asked or measured, as in "http:/health": signals about the same replace each other.
	About string
	Code  Code   // what is wrong if it is Bad
	Bad   bool   // it was
	Text  string // what was seen, in a few words
	// Unfit says that the question itself finds no answer here, as where a page is missing: this is neither good nor bad.
	Unfit bool
}

// Kind is how signals about one thing are taken.
type Kind uint8

// The kinds of what signals are about.
const (
	// Probe is a question asked again and again. Fall failures in a row make the life sick, Rise answers make it well.
	Probe Kind = iota
	// Token is a probe that asks for a token. While streams wait for the worker they are the better sign: then its failure
	// makes nobody sick, it may only be a Witness's word.
	Token
	// Witness is a probe that is heard on whether the life hangs, and else not.
	Witness
	// Stall is that streams are open and none gets a byte. With a Witness that fails Fall times since, the life hangs.
	Stall
	// Passive is that many answers fail. It makes one failure of a probe enough.
	Passive
	// Fault is one of the GPU that a restart is the remedy for. It makes one failure of a probe enough, as Passive does, and
	// then it is the reason. By itself it stops nobody: the driver doesn't tell whose fault it was.
	Fault
	// Notice is what people are to be told whatever the probes say. It stops nobody and keeps nobody from being stopped.
	Notice
)

// Asked is one thing that signals will be about.
type Asked struct {
	About      string
	Kind       Kind
	Rise, Fall int // in a row; at least 1
}
