package wire_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/permit"
	"google.golang.org/protobuf/encoding/protowire"
)

// hostileNumbers are those at which a range ends, or a narrower type would.
var hostileNumbers = []uint64{
	0, 1, 2, 3, 4, 10, 11, 1000, 1001, 999_999_999, 1e9, 1e9 + 1, permit.MaxLimit, permit.MaxLimit + 1,
	math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32, math.MaxUint32 - 9, 1<<32 + 1, math.MaxInt64, 1 << 63,
	math.MaxUint64, math.MaxUint64 - 9, math.MaxUint64 - 10, 315_576_000_001,
}

var hostileTexts = []string{
	"", "a", "a", "b", "a.b", "A", ".a", "a\x00", "\u0085", "\xff", "a\xc0\x80", "\xed\xa0\x80", "\u202e", strings.Repeat("a", 64),
	strings.Repeat("a", 65), strings.Repeat("\xff", 200), strings.Repeat("b", 20_000),
}

// appendHostile appends a message of any fields, most of them such as that kind of message has.
func appendHostile(b []byte, r *rand.Rand, kind string) []byte {
	for range r.IntN(5) {
		b = appendHostileField(b, r, kind)
	}
	return b
}

func appendHostileField(b []byte, r *rand.Rand, kind string) []byte {
	number := uint64(r.IntN(14))
	switch r.IntN(64) {
	case 0:
		number = []uint64{0, 1<<29 - 1, 1 << 29, 1<<32 + 1, 1 << 60}[r.IntN(5)]
	case 1:
		return append(b, byte(r.Uint32()))
	}
	wireType := hostileKinds[kind][number]
	if r.IntN(64) == 0 {
		wireType = string("nbxgef"[r.IntN(6)])
	}
	switch wireType {
	case "":
		if r.IntN(16) > 0 {
			return b
		}
		return appendHostileNumber(protowire.AppendVarint(b, number<<3), r)
	case "n":
		return appendHostileNumber(appendLong(b, r, number<<3), r)
	case "b":
		text := hostileTexts[r.IntN(len(hostileTexts))]
		return append(appendLong(appendLong(b, r, number<<3|2), r, uint64(len(text))), text...)
	case "x":
		return append(protowire.AppendVarint(b, number<<3|1), 0, 0, 0, 0, 0, 0, 0, 0)
	case "f":
		return append(protowire.AppendVarint(b, number<<3|5), 0, 0, 0, 0)
	case "g":
		b = append(protowire.AppendVarint(b, number<<3|3), 8, 1)
		return protowire.AppendVarint(b, number<<3|4)
	case "e":
		return protowire.AppendVarint(b, number<<3|4)
	default:
		inner := appendHostile(nil, r, wireType)
		size := uint64(len(inner))
		if r.IntN(64) == 0 {
			size += uint64(r.IntN(3)) - 1
		}
		return append(appendLong(appendLong(b, r, number<<3|2), r, size), inner...)
	}
}

// hostileKinds tell of each kind of message what its fields are: numbers, bytes or messages.
var hostileKinds = map[string]map[uint64]string{
	"worker": {1: "n", 2: "n", 4: "report", 5: ""},
	"report": {
		1: "b", 2: "n", 3: "n", 4: "n", 5: "n", 6: "n", 7: "n", 8: "n", 9: "duration", 10: "duration", 12: "n",
	},
	"server": {1: "n", 2: "n", 3: "n", 5: "target"},
	"target": {
		1: "b", 2: "n", 3: "n", 4: "n", 5: "n", 6: "n", 7: "n", 8: "duration", 9: "b", 10: "b", 11: "duration", 12: "n",
		13: "duration",
	},
	"duration": {1: "n", 2: "n"},
}

func appendHostileNumber(b []byte, r *rand.Rand) []byte {
	n := hostileNumbers[r.IntN(5)]
	if r.IntN(8) == 0 {
		n = hostileNumbers[r.IntN(len(hostileNumbers))]
	}
	return appendLong(b, r, n)
}

// appendLong appends a varint, sometimes longer than it has to be, or than it may be.
func appendLong(b []byte, r *rand.Rand, n uint64) []byte {
	b = protowire.AppendVarint(b, n)
	if r.IntN(64) == 0 {
		for range r.IntN(11) {
			b[len(b)-1] |= 0x80
			b = append(b, 0)
		}
		if r.IntN(4) == 0 {
			b[len(b)-1] |= byte(r.IntN(4))
		}
	}
	return b
}

// What is no usual message is parsed as its message or not at all, also in the memory of what was no message.
func TestHostileFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	parsed, refused := 0, 0
	var before []byte
	for range 20_000 {
		kind := "worker"
		if flip(r) {
			kind = "server"
		}
		raw := appendHostile(nil, r, kind)
		if r.IntN(4) == 0 {
			raw = append(raw, 8, 1) // its sequence
		}
		if checkParsedAfter(t, before, raw) {
			parsed++
		} else {
			refused++
		}
		before = raw
	}
	if parsed == 0 || refused == 0 {
		t.Errorf("%d parsed, %d not, want some of each", parsed, refused)
	}
}
