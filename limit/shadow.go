package limit

// Shadow runs laws beside the one that is followed, on the same input, so that one can see what they would do. It
// is not safe for concurrent use.
type Shadow struct {
	laws    []Law
	results []ShadowDecision
}

// ShadowDecision is what one of the laws would have decided.
type ShadowDecision struct {
	// Law is the name of the law.
	Law string

	// Decision is what it decided.
	Decision Decision
}

// NewShadow returns a Shadow of these laws, which it alone must use from now on.
func NewShadow(laws ...Law) *Shadow {
	s := &Shadow{laws: laws, results: make([]ShadowDecision, len(laws))}
	for i, law := range laws {
		s.results[i].Law = law.Name()
	}
	return s
}

// Step returns what each of the laws decides, in their order. The result is good until the next Step.
func (s *Shadow) Step(in Input) []ShadowDecision {
	for i, law := range s.laws {
		s.results[i].Decision = law.Step(in)
	}
	return s.results
}
