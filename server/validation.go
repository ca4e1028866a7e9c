package server

import (
	"errors"
	"fmt"
	"strconv"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// maxShownValue bounds, in bytes, how much of a refused text is told back.
const maxShownValue = 64

// explainedValidator names in each violation the value that was refused, and for an enum the numbers that are
// accepted, which the validator itself knows but does not say. It refuses durations and times that are none besides.
type explainedValidator struct{ protovalidate.Validator }

func (e explainedValidator) Validate(m proto.Message, options ...protovalidate.ValidationOption) error {
	if valid(m) {
		return nil
	}
	err := e.Validator.Validate(m, options...)
	faults, ok := errors.AsType[*protovalidate.ValidationError](err)
	if err != nil && !ok {
		return err
	}
	if ok {
		for _, v := range faults.Violations {
			v.Proto.SetMessage(explain(v))
		}
	}
	if times := invalidTimes(m); len(times) > 0 {
		if !ok {
			faults = &protovalidate.ValidationError{}
		}
		faults.Violations = append(faults.Violations, times...)
		return faults
	}
	return err
}

func explain(v *protovalidate.Violation) string {
	text := v.Proto.GetMessage()
	if !v.FieldValue.IsValid() {
		return text
	}
	switch value := v.FieldValue.Interface().(type) {
	case protoreflect.EnumNumber:
		if v.FieldDescriptor == nil || v.FieldDescriptor.Enum() == nil { // of an element of a list
			return fmt.Sprintf("%d: %s", value, text)
		}
		numbers := v.FieldDescriptor.Enum().Values()
		return fmt.Sprintf("%d: %s, %d to %d", value, text, numbers.Get(0).Number(), numbers.Get(numbers.Len()-1).Number())
	case string:
		return strconv.Quote(value[:min(len(value), maxShownValue)]) + ": " + text
	case protoreflect.Message:
		if d, ok := value.Interface().(*durationpb.Duration); ok && d.IsValid() {
			return d.AsDuration().String() + ": " + text
		}
		return text
	case bool, int32, int64, uint32, uint64, float32, float64:
		return fmt.Sprintf("%v: %s", value, text)
	default:
		return text
	}
}
