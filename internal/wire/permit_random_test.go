package wire_test

import (
	"math/rand/v2"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

func randomWorkerFrame(r *rand.Rand) permit.WorkerFrame {
	f := permit.WorkerFrame{Sequence: r.Int64(), Sent: randomDuration(r), Goodbye: flip(r)}
	if flip(r) {
		h := permit.Hello{Client: randomText(r), Instance: randomID(r), Exclusive: flip(r)}
		if flip(r) {
			h.Process = permit.Process{PID: 1 + r.Int64N(1<<22), Start: r.Int64()}
		}
		if h.Resume = flip(r); h.Resume {
			h.Session, h.Epoch = randomID(r), r.Int64()
		}
		for range r.IntN(4) {
			held := permit.Holding{
				Resource: randomText(r), Held: randomPermits(r), Version: r.Int64(), Target: randomPermits(r),
			}
			held.Ceiling, held.HasCeiling = randomCeiling(r)
			h.Held = append(h.Held, held)
		}
		f.Hello = &h
	}
	for range r.IntN(4) {
		f.Reports = append(f.Reports, randomPermitReport(r))
	}
	return f
}

func randomPermitReport(r *rand.Rand) permit.Report {
	p := permit.Report{
		Resource: randomText(r), Version: r.Int64(), Held: randomPermits(r), Want: randomPermits(r),
		Weight: r.IntN(permit.MaxWeight + 1), Priority: permit.MinPriority + r.IntN(permit.MaxPriority-permit.MinPriority+1),
		Guarantee: randomPermits(r), Need: randomPermits(r), OldestWait: randomWait(r), MeanHold: randomWait(r),
	}
	p.Ceiling, p.HasCeiling = randomCeiling(r)
	if p.HasUsage = flip(r); p.HasUsage {
		p.Usage = permit.Usage{
			Uptime: randomWait(r), CPU: randomWait(r) - 1, Runnable: randomWait(r) - 1, Permits: randomWait(r) - 1,
			Memory: r.Int64N(3) - 1, Grown: float64(r.IntN(3)-1) / 3, Duration: randomWait(r) - 1,
			Starts: r.Int64N(3) - 1, Completions: r.Int64N(3) - 1, Failures: r.Int64N(3) - 1,
			Calls: r.Int64N(3) - 1, Throttled: r.Int64N(3) - 1, Delayed: r.Int64N(3) - 1,
		}
		if p.Usage.Grown < 0 {
			p.Usage.Grown = -1
		}
	}
	return p
}

func randomServerFrame(r *rand.Rand) permit.ServerFrame {
	f := permit.ServerFrame{Sequence: r.Int64(), Epoch: r.Int64(), Echo: randomDuration(r), Draining: flip(r)}
	if f.Draining {
		f.Drain = randomWait(r)
	}
	if flip(r) {
		f.Kicked = "reason " + randomText(r)
	}
	if flip(r) {
		f.Welcome = &permit.Welcome{
			Session: randomID(r), Epoch: r.Int64(), Instance: randomText(r), Version: randomText(r),
			TTL: 1 + randomLease(r), Heartbeat: 10*time.Millisecond + randomLease(r), Grace: randomLease(r),
			Resumed: flip(r), Recovery: randomLease(r),
		}
	}
	for range r.IntN(4) {
		target := permit.Target{
			Resource: randomText(r), Version: r.Int64(), Target: randomPermits(r), Guarantee: randomPermits(r),
			Contended: flip(r), Fence: r.Int64(), Mode: randomMode(r), CancelAfter: randomWait(r), Binding: randomText(r),
			Refused: permit.Refusal(randomText(r)), Most: randomPermits(r),
			ReportWithin: randomLease(r),
		}
		if target.HasWait = flip(r); target.HasWait {
			target.Wait = randomWait(r)
		}
		f.Targets = append(f.Targets, target)
	}
	return f
}

func randomShare(r *rand.Rand) permit.SessionShare {
	return permit.SessionShare{
		Resource: randomText(r), Charge: randomPermits(r), Held: randomPermits(r), Target: randomPermits(r),
		Want: randomPermits(r), Guarantee: randomPermits(r), Limit: randomPermits(r),
		Priority: r.IntN(3) - 1, Weight: r.IntN(3), OldestWait: randomWait(r),
	}
}

func randomID(r *rand.Rand) (id [16]byte) {
	for i := range id {
		id[i] = byte(r.Uint32())
	}
	return id
}

func randomCeiling(r *rand.Rand) (ceiling int64, ok bool) {
	if flip(r) {
		return 0, false
	}
	return randomPermits(r), true
}

func randomPermits(r *rand.Rand) int64 {
	return []int64{0, 1, r.Int64N(100), r.Int64N(permit.MaxLimit + 1), permit.MaxLimit}[r.IntN(5)]
}

func randomMode(r *rand.Rand) permit.Mode { return permit.Mode(1 + r.IntN(3)) }

// randomWait is not negative, and often 0, which is sent as absence.
func randomWait(r *rand.Rand) time.Duration {
	return []time.Duration{0, 1, time.Duration(r.Int64())}[r.IntN(3)]
}

func randomLease(r *rand.Rand) time.Duration {
	return []time.Duration{0, 1, time.Second, time.Duration(r.Int64N(int64(59 * time.Minute)))}[r.IntN(4)]
}
