package server

import (
	"fmt"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// invalidTimes returns a violation for each Duration and Timestamp, at any depth of m, that is none by its own
// contract: the rules of a field look only at what its seconds and nanoseconds make together.
func invalidTimes(m proto.Message) []*protovalidate.Violation {
	var found []*protovalidate.Violation
	eachTime(m.ProtoReflect(), nil, &found)
	return found
}

func eachTime(m protoreflect.Message, path []*validate.FieldPathElement, found *[]*protovalidate.Violation) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil || f.IsMap() { // no request has a map
			return true
		}
		at := func(element *validate.FieldPathElement, one protoreflect.Value) {
			element.FieldName = proto.String(string(f.Name()))
			below := append(path[:len(path):len(path)], element)
			if want := timeFault(one.Message()); want != "" {
				*found = append(*found, &protovalidate.Violation{Proto: &validate.Violation{
					Field: &validate.FieldPath{Elements: below}, Message: proto.String(want),
				}})
				return
			}
			eachTime(one.Message(), below, found)
		}
		if !f.IsList() {
			at(&validate.FieldPathElement{}, v)
			return true
		}
		for i := range v.List().Len() {
			at(&validate.FieldPathElement{Subscript: &validate.FieldPathElement_Index{Index: uint64(i)}}, v.List().Get(i))
		}
		return true
	})
}

// timeFault says what is wrong with m; "" where it is no Duration or Timestamp, or a valid one.
func timeFault(m protoreflect.Message) string {
	var (
		valid   bool
		seconds int64
		nanos   int32
		accepts string
	)
	switch t := m.Interface().(type) {
	case *durationpb.Duration:
		valid, seconds, nanos = t.IsValid(), t.GetSeconds(), t.GetNanos()
		accepts = "must have seconds from -315576000000 to 315576000000, and nanos of the same sign within ±999999999"
	case *timestamppb.Timestamp:
		valid, seconds, nanos = t.IsValid(), t.GetSeconds(), t.GetNanos()
		accepts = "must be a time of the years 1 to 9999, with nanos from 0 to 999999999"
	default:
		return ""
	}
	if valid {
		return ""
	}
	return fmt.Sprintf("{seconds: %d, nanos: %d}: %s", seconds, nanos, accepts)
}
