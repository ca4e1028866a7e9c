package permit

import "time"

// LesseeConfig says who a worker is.
type LesseeConfig struct {
	// Client names the worker for people, and Instance identifies this run of its process.
	Client   string
	Instance InstanceID

	// Exclusive is whether no other process has the worker's connections.
	Exclusive bool
}

// Demand is what a worker wants of one resource.
type Demand struct {
	// Waiting counts the permits that work waits for beside those that are held.
	Waiting int64

	// Weight, Priority, Guarantee, Need, OldestWait, MeanHold and Usage are those of [Report].
	Weight, Priority     int
	Guarantee, Need      int64
	OldestWait, MeanHold time.Duration
	Usage                Usage
	HasUsage             bool
}

// Lessee is the worker's side of the protocol: what it was granted, what it may do, and what it has to say. It
// is not safe for concurrent use, but for its gates.
type Lessee struct{}

// NewLessee returns a Lessee that has no session.
func NewLessee(c LesseeConfig) *Lessee { return &Lessee{} }

// Gate returns the gate of a resource, the same one each time.
func (w *Lessee) Gate(resource string) *Gate { return &Gate{} }

// Demand states what the worker wants of a resource from now on.
func (w *Lessee) Demand(resource string, d Demand) {}

// Connect begins a stream: the next frame is its first, with a Hello.
func (w *Lessee) Connect(now time.Duration) {}

// Disconnect says that the stream is over. What is held stays held until the lease ends.
func (w *Lessee) Disconnect(now time.Duration) {}

// Receive takes a frame of the server. A frame of an older epoch, and a target that is not newer than the one
// applied, change nothing.
func (w *Lessee) Receive(now time.Duration, f ServerFrame) {}

// Frame returns the next frame to send, if one is due.
func (w *Lessee) Frame(now time.Duration) (f WorkerFrame, ok bool) { return WorkerFrame{}, false }

// Goodbye returns the frame that ends the session. Nothing may be started after it.
func (w *Lessee) Goodbye(now time.Duration) WorkerFrame { return WorkerFrame{} }

// Next returns when [Lessee.Frame] is due without any other call, or the lease ends.
func (w *Lessee) Next() (at time.Duration, ok bool) { return 0, false }

// Deadline returns when the lease ends, by the clock of the worker; ok is false while there is none.
func (w *Lessee) Deadline() (at time.Duration, ok bool) { return 0, false }

// Advance brings the Lessee to the time: when the lease has ended it closes the gates.
func (w *Lessee) Advance(now time.Duration) {}
