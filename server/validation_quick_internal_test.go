package server

import (
	"math"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// usual are messages as clients send them.
func usual() []proto.Message {
	return []proto.Message{
		&headroomv1.AttachRequest{Sequence: 1},
		&headroomv1.AttachRequest{Sequence: 7, SendNanos: -1, Goodbye: &headroomv1.Goodbye{}, Reports: []*headroomv1.PermitReport{{
			Resource: "api", Version: 3, Held: 2, Want: 9, Ceiling: proto.Int64(2), Weight: 1, Priority: -1, Guarantee: 1, Need: 1,
			OldestWait: durationpb.New(1), MeanHold: durationpb.New(1e9), Usage: &headroomv1.PermitUsage{
				Uptime: durationpb.New(5e9), CpuTime: durationpb.New(1e9), RunnableTime: durationpb.New(1e9),
				PermitTime: durationpb.New(1e9), ExpectedDuration: durationpb.New(1e9), MemoryBytes: proto.Int64(1),
				Starts: proto.Int64(1), Completions: proto.Int64(1), Failures: proto.Int64(1), Calls: proto.Int64(1),
				Throttled: proto.Int64(1), Delayed: proto.Int64(1),
			},
		}}},
		&headroomv1.AcquirePermitRequest{Resource: "a.b", RequestId: "A-1:x_", Count: 4, Priority: 10},
		&headroomv1.ReleasePermitRequest{PermitId: strings.Repeat("f", 64)},
	}
}

// oddities returns values of a field that its rules may refuse.
func oddities(f protoreflect.FieldDescriptor) (values []protoreflect.Value) {
	switch f.Kind() {
	case protoreflect.Int64Kind:
		for _, n := range []int64{math.MinInt64, -1, 0, 1, 999_999_999, 1_000_000_000, 1_000_001, 315_576_000_001, math.MaxInt64} {
			values = append(values, protoreflect.ValueOfInt64(n))
		}
	case protoreflect.Int32Kind:
		for _, n := range []int32{math.MinInt32, -11, -10, -1, 0, 10, 11, 1000, 1001, 999_999_999, 1_000_000_000, math.MaxInt32} {
			values = append(values, protoreflect.ValueOfInt32(n))
		}
	case protoreflect.DoubleKind:
		for _, x := range []float64{-1, math.NaN(), math.Inf(1), 0.5} {
			values = append(values, protoreflect.ValueOfFloat64(x))
		}
	case protoreflect.StringKind:
		texts := []string{"", "a", strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("ü", 33), "a\n", "a\x00", "\u202e"}
		for b := byte(' '); b < 0x80; b++ {
			texts = append(texts, string(b), "a"+string(b))
		}
		for _, s := range texts {
			values = append(values, protoreflect.ValueOfString(s))
		}
	}
	return values
}

// eachOddity calls check with root as it is with one field, at any depth, of another value or absent.
func eachOddity(m protoreflect.Message, path string, check func(path string)) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				eachOddity(v.List().Get(i).Message(), path+"."+string(f.Name()), check)
			}
		case f.Message() != nil:
			eachOddity(v.Message(), path+"."+string(f.Name()), check)
		}
		return true
	})
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		has, before := m.Has(f), m.Get(f)
		restore := func() {
			if m.Clear(f); has {
				m.Set(f, before)
			}
		}
		for _, v := range oddities(f) {
			m.Set(f, v)
			check(path + "." + string(f.Name()) + "=" + v.String())
			restore()
		}
		m.Clear(f)
		check(path + "." + string(f.Name()) + " absent")
		if f.Message() != nil && !f.IsList() && !has {
			m.Set(f, m.NewField(f))
			check(path + "." + string(f.Name()) + " empty")
		}
		restore()
	}
}

// What is taken for valid without the validator is valid by it too, and the usual messages are.
func TestValidWithoutTheValidator(t *testing.T) {
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range usual() {
		name := string(m.ProtoReflect().Descriptor().Name())
		if !valid(m) {
			t.Errorf("%s %v: not taken for valid", name, m)
		}
		checked, refused := 0, 0
		eachOddity(m.ProtoReflect(), name, func(path string) {
			checked++
			err := validator.Validate(m)
			if err != nil {
				refused++
			}
			if valid(m) && err != nil {
				t.Errorf("%s: taken for valid, but %v", path, err)
			}
		})
		if checked == 0 || refused == 0 {
			t.Errorf("%s: %d messages checked, %d refused, want some of each", name, checked, refused)
		}
	}
	many := &headroomv1.AttachRequest{Sequence: 1}
	for range 65 {
		many.Reports = append(many.Reports, &headroomv1.PermitReport{Resource: "a"})
	}
	if valid(many) || valid(&headroomv1.RenewPermitRequest{}) {
		t.Error("too many reports, or a message that is not known, are taken for valid")
	}
}
