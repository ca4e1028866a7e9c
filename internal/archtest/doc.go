// Package archtest holds the rules of the architecture as tests: which package may import which, what the
// small packages cost a program that imports them, and what no source file may contain.
package archtest
