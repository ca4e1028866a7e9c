// Package memory tells a Go program where its memory is and gives some of it back: the deep size of a value,
// dumps of live memory by where it was allocated, and a function for handlers of memory pressure.
//
// It needs nothing but the standard library and starts nothing by itself.
package memory
