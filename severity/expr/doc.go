// Package expr compiles severity conditions that are written as text.
//
// The text is an expression of the Common Expression Language (CEL) that is true or false, such as
//
//	memory.available_ratio < 0.15 || where_known(psi.memory.some > 0.2)
//
// Its variables, functions and constants are those that [Symbols] lists; beside CEL's own arithmetic, numbers
// of both kinds mix and a duration may be multiplied, so that 1.5 * GiB and 30 * second are what they say.
// There are no lists, maps, messages, macros, loops or regular expressions.
//
// [Compile] checks all types. It gives the operators && || ! and where_known to the combinators of package
// severity, so that every comparison between them is a leaf with a value, a bound and an age of its own, and
// makes a comparison that severity has a term for that term: memory.available < 2 * GiB is
// [severity.GlobalAbsolute]. The evidence shows it so. What remains is judged by CEL.
//
// What is unknown is CEL's unknown, never false and never 0: a variable without a reading makes what is
// calculated from it Unknown, except where the other side of && or || or the branch of ?: that is taken decides
// alone. So does an error of the calculation, such as a division by zero. Partial evaluation is not used.
//
// Text is bounded by [MaxText], [MaxDepth] and [MaxCost]. As the language has no loop, the cost that is
// estimated before anything runs is the most that one evaluation can cost, so there is nothing to interrupt.
package expr
