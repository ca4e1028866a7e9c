package memory

import (
	"bufio"
	"cmp"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
)

const (
	maxSites   = 4096
	maxStacks  = 1 << 20
	outputSize = 64 << 10
	maxFrames  = 4
)

// Dumper writes where the live memory of this program was allocated. It takes the memory that it needs when
// it is made, about 2.5 MiB, and under 1 KiB later: a dump is wanted most when there is none to be had, and
// one that allocates then fails, or is itself what brings the program down. Its methods are safe for
// concurrent use.
type Dumper struct {
	mu      sync.Mutex
	w       io.Writer
	out     *bufio.Writer
	records []runtime.MemProfileRecord
	stacks  []byte
}

// NewDumper returns a Dumper that writes to w; nil means standard error.
func NewDumper(w io.Writer) *Dumper {
	if w == nil {
		w = os.Stderr
	}
	return &Dumper{
		w:       w,
		out:     bufio.NewWriterSize(w, outputSize),
		records: make([]runtime.MemProfileRecord, maxSites),
		stacks:  make([]byte, maxStacks),
	}
}

// Dump writes one line for each site that allocated memory which is still live, the most bytes first: bytes,
// objects, and the innermost four functions. It blocks while the writer does, and returns its error.
//
// It shows sites and not types, since Go keeps no type for an object on the heap. The figures are those of
// the runtime's heap profile: estimates from one sample in each runtime.MemProfileRate bytes, as of the last
// completed garbage collection. What is garbage by now but was not then is still in them. Of more than 4,096
// sites it writes only how many they are.
func (d *Dumper) Dump() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.Reset(d.w) // what failed once may work now
	d.writeMemory()
	return d.out.Flush()
}

// DumpAll is Dump followed by the stacks of all goroutines, up to 1 MiB of them. It stops the world while it
// takes them. The values of local variables are not to be had in Go.
func (d *Dumper) DumpAll() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.Reset(d.w) // what failed once may work now
	d.writeMemory()
	n := runtime.Stack(d.stacks, true)
	d.text("goroutines\n")
	d.out.Write(d.stacks[:n])
	if n == len(d.stacks) {
		d.text("\n... more stacks than fit in 1 MiB\n")
	}
	return d.out.Flush()
}

// DumpOn calls DumpAll whenever the program gets one of the signals, which then no longer end it. It starts
// one goroutine; stop ends it and waits for it. Signals that come during a dump are one more dump.
func (d *Dumper) DumpOn(signals ...os.Signal) (stop func()) {
	if len(signals) == 0 {
		return func() {} // signal.Notify would take none for all
	}
	got, quit, done := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(got, signals...)
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			case <-got:
				// There is nobody to tell: the writer was the way to tell somebody.
				_ = d.DumpAll()
			}
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(got)
		close(quit)
		<-done
	})
}

func (d *Dumper) writeMemory() {
	n, ok := runtime.MemProfile(d.records, false)
	if !ok {
		d.text("live memory: ")
		d.number(int64(n), 0)
		d.text(" allocation sites, more than fit\n")
		return
	}
	records := d.records[:n]
	rate := runtime.MemProfileRate
	for i := range records {
		unsample(&records[i], rate)
	}
	slices.SortFunc(records, func(a, b runtime.MemProfileRecord) int {
		return cmp.Compare(b.InUseBytes(), a.InUseBytes())
	})
	d.text("live memory by allocation site, as of the last collection\n       bytes      objects  site\n")
	for i := range records {
		r := &records[i]
		d.number(r.InUseBytes(), 12)
		d.text(" ")
		d.number(r.InUseObjects(), 12)
		d.text("  ")
		d.writeSite(r.Stack())
		d.text("\n")
	}
}

// unsample turns what was sampled into an estimate of what there is: an object of a size is in the sample
// with the probability 1 - exp(-size/rate).
func unsample(r *runtime.MemProfileRecord, rate int) {
	objects, bytes := r.InUseObjects(), r.InUseBytes()
	r.FreeObjects, r.FreeBytes = 0, 0
	r.AllocObjects, r.AllocBytes = objects, bytes
	if rate <= 1 || objects <= 0 || bytes <= 0 {
		return
	}
	scale := 1 / -math.Expm1(-float64(bytes)/float64(objects)/float64(rate))
	r.AllocObjects, r.AllocBytes = int64(float64(objects)*scale), int64(float64(bytes)*scale)
}

func (d *Dumper) writeSite(stack []uintptr) {
	for i, pc := range stack[:min(len(stack), maxFrames)] {
		if i > 0 {
			d.text(" < ")
		}
		// A program counter on a stack is where the call returns to.
		f := runtime.FuncForPC(pc - 1)
		if f == nil {
			d.text("unknown")
			continue
		}
		file, line := f.FileLine(pc - 1)
		d.text(f.Name())
		d.text(" ")
		d.text(file)
		d.text(":")
		d.number(int64(line), 0)
	}
}

// text and number leave it to Flush to return the error.
func (d *Dumper) text(s string) { d.out.WriteString(s) }

// number writes n in at least so many columns.
func (d *Dumper) number(n int64, columns int) {
	var digits [20]byte
	b := strconv.AppendInt(digits[:0], n, 10)
	for range columns - len(b) {
		d.out.WriteByte(' ')
	}
	d.out.Write(b)
}
