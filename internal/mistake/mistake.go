// Package mistake holds the known ways to get the protocol of permits wrong, each behind a switch, so that
// tests can show that they would find it. No switch is on but in a test that planted it, and nothing outside
// tests can: a mistake is not a setting.
package mistake

import "sync/atomic"

// Mistake is one way to get it wrong. Its zero value is none.
type Mistake uint32

// The mistakes of the ledger.
const (
	RaiseUnchecked    Mistake = 1 << iota // a target is raised whatever the charges are
	FreeOnSend                            // a lowered target frees its charge when it is sent
	AckWrongVersion                       // a report acknowledges the newest version, whichever it states
	ExpireFromSend                        // a session expires by the worker's clock
	ResumeOther                           // a session is resumed by whoever names it
	ForgetUnknown                         // what an earlier life granted is not charged
	RecordAfterGrant                      // a ceiling is written down after the target was sent
	FenceLocal                            // each session counts its own fences
	ReportTwice                           // a report that comes again frees again
	IgnoreGoodbye                         // a goodbye with a target in flight is not heard
	LowerFrees                            // a lowered target frees its charge at once
	YieldKeepsTarget                      // what was yielded is free, and still within the target
	AcceptStaleReport                     // a report older than the newest one is applied
	KickFrees                             // what a kicked session holds is free
)

// The mistakes of the worker.
const (
	LeaseFromReceive Mistake = 1 << (16 + iota) // the lease counts from when the echo came
	AcceptOldEpoch                              // a frame of an earlier life of the server is applied
	AcceptOldTarget                             // a target older than the one applied is applied
	IgnoreCeiling                               // a start does not heed the ceiling that was given
	IgnoreDeadline                              // a start does not heed the end of the lease
)

// All are the mistakes with the names that tests print.
var All = []struct {
	Mistake Mistake
	Name    string
}{
	{RaiseUnchecked, "RaiseUnchecked"},
	{FreeOnSend, "FreeOnSend"},
	{AckWrongVersion, "AckWrongVersion"},
	{ExpireFromSend, "ExpireFromSend"},
	{ResumeOther, "ResumeOther"},
	{ForgetUnknown, "ForgetUnknown"},
	{RecordAfterGrant, "RecordAfterGrant"},
	{FenceLocal, "FenceLocal"},
	{ReportTwice, "ReportTwice"},
	{IgnoreGoodbye, "IgnoreGoodbye"},
	{LowerFrees, "LowerFrees"},
	{YieldKeepsTarget, "YieldKeepsTarget"},
	{AcceptStaleReport, "AcceptStaleReport"},
	{KickFrees, "KickFrees"},
	{LeaseFromReceive, "LeaseFromReceive"},
	{AcceptOldEpoch, "AcceptOldEpoch"},
	{AcceptOldTarget, "AcceptOldTarget"},
	{IgnoreCeiling, "IgnoreCeiling"},
	{IgnoreDeadline, "IgnoreDeadline"},
}

// String returns the name that tests print.
func (m Mistake) String() string {
	for _, one := range All {
		if one.Mistake == m {
			return one.Name
		}
	}
	return "none"
}

var planted atomic.Uint32

// Planted reports whether m is planted. It is one load of memory, and safe for concurrent use.
func Planted(m Mistake) bool { return planted.Load()&uint32(m) != 0 }

// Plant plants m in this whole process, and returns what takes it out again. Only tests that do not run beside
// others may call it.
func Plant(m Mistake) (undo func()) {
	planted.Or(uint32(m))
	return func() { planted.And(^uint32(m)) }
}
