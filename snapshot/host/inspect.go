package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync"

	"github.com/headroom-rpc/headroom/snapshot"
)

// FindingState says how a [Finding] turned out.
type FindingState uint8

// The states.
const (
	FindingGood    FindingState = iota // it is there, or as it should be
	FindingLimited                     // it works, but see the detail
	FindingMissing                     // it cannot be seen; the detail says why
)

// String returns "ok", "limited" or "missing".
func (s FindingState) String() string {
	switch s {
	case FindingGood:
		return "ok"
	case FindingLimited:
		return "limited"
	default:
		return "missing"
	}
}

// The areas of findings, in their order.
const (
	AreaLimits    = "limits"
	AreaSignals   = "signals"
	AreaProcesses = "processes"
	AreaProgram   = "program"
)

// Finding is one thing that [Inspect] looked at, for people.
type Finding struct {
	Area, Name string
	State      FindingState
	Detail     string

	// Advice is what can be done about it. Empty where nothing need be.
	Advice string
}

// Inspect looks at everything that a [Host] of c can read, once, and says what is visible, what is not and why,
// which limits apply, and what to do about it. It changes nothing, and takes about as long as the first readings:
// some 100 ms. An error names what is wrong with c, or that ctx ended.
func Inspect(ctx context.Context, c Config) ([]Finding, error) {
	h, err := Open(c)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var in inspection
	in.readAll(ctx, h)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in.limits(c)
	in.signals(h)
	in.processes(c)
	in.program()
	return in.findings, nil
}

// inspection is what was read and what follows from it.
type inspection struct {
	findings []Finding

	cpu       snapshot.CPUReading
	cpuErr    error
	memory    snapshot.MemoryReading
	memoryErr error
	pressure  [3]pressureLook
	own       []signalLook
}

type pressureLook struct {
	signal  string
	stalled snapshot.Resource
	reading snapshot.PressureReading
	err     error
}

type signalLook struct {
	value, bound float64
	err          error
}

func (in *inspection) add(area, name string, state FindingState, detail, advice string) {
	in.findings = append(in.findings, Finding{area, name, state, detail, advice})
}

// readAll reads every source at once, as each first reading waits.
func (in *inspection) readAll(ctx context.Context, h *Host) {
	in.pressure = [3]pressureLook{
		{signal: snapshot.SignalPressureCPU, stalled: snapshot.CPU},
		{signal: snapshot.SignalPressureMemory, stalled: snapshot.Memory},
		{signal: snapshot.SignalPressureIO},
	}
	in.own = make([]signalLook, len(h.signals))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { in.cpu, in.cpuErr = h.sources.CPU(ctx) })
	wg.Go(func() { in.memory, in.memoryErr = h.sources.Memory(ctx) })
	for i := range in.pressure {
		p := &in.pressure[i]
		if h.sources.Pressure == nil {
			p.err = fmt.Errorf("not read on %s", runtime.GOOS)
			continue
		}
		wg.Go(func() { p.reading, p.err = h.sources.Pressure(ctx, p.stalled) })
	}
	for i, s := range h.signals {
		wg.Go(func() { in.own[i].value, in.own[i].bound, in.own[i].err = s.Read(ctx) })
	}
}

// limits tells which limits hold.
func (in *inspection) limits(c Config) {
	if in.cpuErr == nil {
		detail := cores(in.cpu.Cores) + ", " + in.cpu.Limit
		if in.cpu.HostKnown && in.cpu.Cores < in.cpu.HostCores {
			detail += fmt.Sprintf("; the host has %s", cores(in.cpu.HostCores))
		}
		in.add(AreaLimits, "cpu", FindingGood, detail, ownUnit(c, in.cpu.Limit))
	} else {
		in.add(AreaLimits, "cpu", FindingMissing, in.cpuErr.Error(), noLimitAdvice(c))
	}
	if in.memoryErr == nil {
		m := &in.memory
		in.add(AreaLimits, "memory", FindingGood, bytesText(m.Total)+", "+m.Limit, ownUnit(c, m.Limit))
		if t := m.Tightest; t.Limit != "" {
			detail := fmt.Sprintf("%s of %s, %s", bytesText(max(t.Total-t.Used, 0)), bytesText(t.Total), t.Limit)
			in.add(AreaLimits, "memory left", FindingGood, detail, "")
		}
		switch {
		case m.SwapKnown && m.SwapTotal == 0:
			in.add(AreaLimits, "swap", FindingGood, "none", "")
		case m.SwapKnown:
			in.add(AreaLimits, "swap", FindingGood, fmt.Sprintf("%s of %s in use", bytesText(m.SwapUsed), bytesText(m.SwapTotal)), "")
		default:
			in.add(AreaLimits, "swap", FindingMissing, "not told", "")
		}
	} else {
		in.add(AreaLimits, "memory", FindingMissing, in.memoryErr.Error(), noLimitAdvice(c))
	}
	in.groups(c)
}

// noLimitAdvice returns what to do where it is not known what holds.
func noLimitAdvice(c Config) string {
	if c.Cgroup == "" || c.Cgroup == NoCgroup {
		return ""
	}
	return "name a cgroup that each controller has; without --cgroup doctor shows the one that it is in"
}

// signals tells of each signal whether it can be read.
func (in *inspection) signals(h *Host) {
	tell := func(name string, err error, detail, advice string) {
		if err != nil {
			in.add(AreaSignals, name, FindingMissing, err.Error(), advice)
			return
		}
		in.add(AreaSignals, name, FindingGood, detail, "")
	}
	tell(snapshot.SignalCPU, told(in.cpuErr), fmt.Sprintf("%s in use, %s", percent(in.cpu.Used), in.cpu.Source), "")
	tell(snapshot.SignalMemory, told(in.memoryErr),
		fmt.Sprintf("%s in use, %s", bytesText(in.memory.Used), in.memory.Definition), "")
	for i := range in.pressure {
		p := &in.pressure[i]
		tell(p.signal, plain(p.err), fmt.Sprintf("%s waiting, %s", percent(p.reading.Some), p.reading.Source), pressureAdvice)
	}
	for i, s := range h.signals {
		detail := fmt.Sprintf("%.3g, overloaded over %.3g", in.own[i].value, in.own[i].bound)
		tell(s.Name, told(in.own[i].err), detail, "")
	}
	in.absent(h)
}

var errTold = errors.New("unknown, as its limit is")

// told returns an error that is shorter, where the limits gave the reason.
func told(err error) error {
	if err == nil {
		return nil
	}
	return errTold
}

// plain returns the error of the file without what to do about it, which the advice says.
func plain(err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		return file
	}
	return err
}

// program tells how this program, or one started as it was, fits into the limits.
func (in *inspection) program() {
	sample := []metrics.Sample{{Name: "/gc/gomemlimit:bytes"}, {Name: "/sched/gomaxprocs:threads"}}
	metrics.Read(sample)
	limit, procs := sample[0].Value.Uint64(), sample[1].Value.Uint64()

	limited := in.memoryErr == nil && in.memory.Total > 0 && in.memory.Total < in.memory.HostTotal
	switch {
	case limit < math.MaxInt64:
		in.add(AreaProgram, "GOMEMLIMIT", FindingGood, bytesText(int64(limit)), "")
	case limited:
		in.add(AreaProgram, "GOMEMLIMIT", FindingLimited, "not set, under a limit on memory",
			fmt.Sprintf("a Go program alone in it does best with GOMEMLIMIT=%dMiB, nine tenths", in.memory.Total/10*9>>20))
	case in.memoryErr != nil:
		in.add(AreaProgram, "GOMEMLIMIT", FindingGood, "not set", "")
	default:
		in.add(AreaProgram, "GOMEMLIMIT", FindingGood, "not set; nothing but the host's memory limits it", "")
	}

	detail := strconv.FormatUint(procs, 10)
	if in.cpuErr == nil && float64(procs) > math.Ceil(in.cpu.Cores) {
		in.add(AreaProgram, "GOMAXPROCS", FindingLimited, detail+", over the "+cores(in.cpu.Cores)+" that it may use",
			fmt.Sprintf("a Go program is throttled less with GOMAXPROCS=%.0f", math.Ceil(in.cpu.Cores)))
		return
	}
	in.add(AreaProgram, "GOMAXPROCS", FindingGood, detail, "")
}

func cores(n float64) string {
	text := strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64)
	if text == "1" {
		return "1 core"
	}
	return text + " cores"
}

func percent(share float64) string {
	return strconv.FormatFloat(math.Round(share*1000)/10, 'f', -1, 64) + "%"
}

func bytesText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	if n < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
