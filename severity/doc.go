// Package severity turns readings of a machine into severity levels and tells a program when they change.
//
// Level 0 is normal and always there; the others count from 1. Levels are concurrent: while level 2 is in
// effect, level 1 is in effect too. The [Engine] promises:
//
//  1. The target is the highest level whose condition holds; the conditions of lower levels need not.
//  2. The level moves one step at a time through every level between, in one Step or over several, and each
//     step is one [Transition] with a sequence number that grows by one and evidence that is never empty.
//  3. On the way up a level counts as in effect before its handlers are told; on the way down it counts as
//     in effect until they were. Normal is told once, on reaching 0.
//  4. Remaining is told only on a Step without a transition.
//  5. What is unknown holds the level and is reported. It never raises the level and never lets it fall.
//
// The Engine decides purely: it starts no goroutine, reads no clock and calls no foreign function but
// [Condition.Judge]. [Runner] feeds it, [Handlers] call the program, [History] keeps what happened.
package severity
