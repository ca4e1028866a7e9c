package host

// ProcessDetail is what costs more to read of a process than its RSS. All sizes are in bytes.
type ProcessDetail struct {
	// PSS is the proportional set size, in which what is shared counts once, and Swap what of the process is swapped
	// out, where PSSKnown and SwapKnown say so.
	PSS, Swap           int64
	PSSKnown, SwapKnown bool

	// Peak is the greatest RSS that the process ever had, where PeakKnown says so.
	Peak      int64
	PeakKnown bool
}
