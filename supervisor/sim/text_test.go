package sim

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestVectors holds the text to the package's comment. The vectors were computed by a program in another language from
// that comment alone; whoever writes a checker can use them too.
func TestVectors(t *testing.T) {
	for _, v := range []struct {
		prompt  string
		choice  int
		seed    uint64
		text    string
		tokens  int
		natural int
	}{
		{"hello", 0, 11831194018420276491, " tap wait open <answer>", 4, 209},
		{"hello", 1, 11831194018420276491, " 🙂yes home C:\\tmp home", 4, 137},
		{"user:Hi\n", 0, 6700793439280548291, " home type type 自动auto 点击click", 5, 103},
		{"", 0, 14695981039346656037, " tap type 点击click open wait 🙂yes", 6, 160},
		{
			"system:你好\nuser:look data:image/png;base64,AAAA\n", 0, 18170050896467387195,
			" 自动auto type 🙂yes C:\\tmp 自动auto 🙂yes", 6, 122,
		},
		{"1,2,3", 0, 18389945051601469783, " type screen button open", 4, 93},
	} {
		s := newSeed().add(v.prompt)
		var text strings.Builder
		for k := range v.tokens {
			text.WriteString(pieces[s.piece(v.choice, k)])
		}
		if uint64(s) != v.seed || text.String() != v.text || s.naturalLength(v.choice) != v.natural {
			t.Errorf("prompt %q choice %d: got seed %d, text %q, natural length %d; want %d, %q, %d",
				v.prompt, v.choice, uint64(s), text.String(), s.naturalLength(v.choice), v.seed, v.text, v.natural)
		}
	}
}

// TestEscapedPiecesDecode: what stands in the JSON is the piece.
func TestEscapedPiecesDecode(t *testing.T) {
	for i, piece := range pieces {
		var got string
		if err := json.Unmarshal([]byte(`"`+escaped[i]+`"`), &got); err != nil || got != piece {
			t.Errorf("piece %d: %s decodes to %q, %v; want %q", i, escaped[i], got, err, piece)
		}
	}
}

// TestEveryPieceCanBeCorrupted: each corruption of each piece yields another text, so that no such fault is a no-op.
func TestEveryPieceCanBeCorrupted(t *testing.T) {
	for _, fault := range []Fault{FaultDrop, FaultDouble, FaultSwap} {
		for _, piece := range pieces {
			bad := corrupt(piece, fault)
			want := map[Fault]int{FaultDrop: len(piece) - 1, FaultDouble: len(piece) + 1, FaultSwap: len(piece)}[fault]
			if bad == piece || len(bad) != want {
				t.Errorf("%s of %q gave %q", fault, piece, bad)
			}
		}
	}
}

func FuzzAppendJSON(f *testing.F) {
	f.Add("a\"b\\c\n\r\t\x00\x1f\u007f<&>é🙂")
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		var got string
		if err := json.Unmarshal([]byte(`"`+string(appendJSON(nil, text))+`"`), &got); err != nil || got != text {
			t.Errorf("%q came back as %q, %v", text, got, err)
		}
	})
}
