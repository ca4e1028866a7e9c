package jobs

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// LogHeader is the first line of a job log, in the columns of GNU parallel's --joblog.
const LogHeader = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"

// A Record is one line of a job log: how a job ended.
type Record struct {
	Seq          int64
	Host         string // ":" is this one
	Start        time.Time
	Runtime      time.Duration
	Sent         int64 // bytes
	Received     int64 // bytes of output, where they passed through headroom
	Exit, Signal int   // Exit is -1 for a job that ran into its time limit
	Command      string
}

// Failed reports whether the job failed.
func (r *Record) Failed() bool { return r.Exit != 0 || r.Signal != 0 }

// logText keeps a text within its column, and a command within its line, as GNU parallel does.
var logText = strings.NewReplacer("\n", "\x00")

// AppendLine appends the line, with its end, to b.
func (r *Record) AppendLine(b []byte) []byte {
	return fmt.Appendf(b, "%d\t%s\t%.3f\t%10.3f\t%d\t%d\t%d\t%d\t%s\n", r.Seq, r.Host,
		float64(r.Start.UnixMicro())/1e6, r.Runtime.Seconds(), r.Sent, r.Received, r.Exit, r.Signal, logText.Replace(r.Command))
}

// ParseRecord reads a line of a job log without its end.
func ParseRecord(line string) (Record, error) {
	wrong := func() (Record, error) { return Record{}, fmt.Errorf("not a line of a job log: %.80q", line) }
	fields := strings.SplitN(line, "\t", 9)
	if len(fields) != 9 {
		return wrong()
	}
	var r Record
	var err error
	number := func(at, bits int) int64 {
		n, bad := strconv.ParseInt(strings.TrimSpace(fields[at]), 10, bits)
		if bad != nil {
			err = bad
		}
		return n
	}
	seconds := func(at int) float64 {
		v, bad := strconv.ParseFloat(strings.TrimSpace(fields[at]), 64)
		if bad != nil || !(v >= -1e9 && v <= 1e11) {
			err = strconv.ErrRange
		}
		return v
	}
	r.Seq, r.Host = number(0, 64), fields[1]
	r.Start = time.UnixMicro(int64(seconds(2) * 1e6))
	r.Runtime = max(0, min(time.Duration(seconds(3)*float64(time.Second)), 1<<62))
	r.Sent, r.Received = number(4, 64), number(5, 64)
	r.Exit, r.Signal = int(number(6, 32)), int(number(7, 32))
	r.Command = strings.ReplaceAll(fields[8], "\x00", "\n")
	if err != nil || r.Seq < 1 {
		return wrong()
	}
	return r, nil
}

// Finished are the jobs that a log tells of, and whether each failed the last time.
type Finished map[int64]bool

// ReadLog reads a job log, and returns also how long it is without a last line that has no end, which does not count:
// the run was cut off.
func ReadLog(r io.Reader) (all Finished, size int64, err error) {
	all = Finished{}
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return all, size, nil
		}
		if err != nil {
			return nil, 0, err
		}
		size += int64(len(line))
		if n == 1 && line == LogHeader {
			continue
		}
		record, err := ParseRecord(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", n, err)
		}
		all[record.Seq] = record.Failed()
	}
}

// Skip reports whether a job is not to be run again: it ran, and, where those that failed are to be, did not fail.
func (f Finished) Skip(seq int64, failedAgain bool) bool {
	failed, ran := f[seq]
	return ran && !(failed && failedAgain)
}
