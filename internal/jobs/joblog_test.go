package jobs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

// The lines are those of GNU parallel 20221122.
const parallelLog = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n" +
	"1\t:\t1795307496.138\t     0.006\t0\t0\t0\t0\tsleep 0; exit 0\n" +
	"2\t:\t1795307496.144\t     1.004\t0\t0\t1\t0\tsleep 1; exit 1\n" +
	"3\t:\t1795307496.150\t     1.915\t0\t7\t-1\t15\tsleep 3\x00exit\t3\n"

func TestRecordAsParallelWritesIt(t *testing.T) {
	var again []byte
	again = append(again, jobs.LogHeader...)
	for line := range strings.Lines(parallelLog[len(jobs.LogHeader):]) {
		r, err := jobs.ParseRecord(strings.TrimSuffix(line, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if r.Failed() != (r.Seq > 1) {
			t.Errorf("%d failed: %t", r.Seq, r.Failed())
		}
		again = r.AppendLine(again)
	}
	if string(again) != parallelLog {
		t.Errorf("%q, want %q", again, parallelLog)
	}
	r, err := jobs.ParseRecord("3\thost\t1795307496.150\t     1.915\t1\t2\t-1\t15\ta\x00b")
	want := jobs.Record{Seq: 3, Host: "host", Start: time.UnixMilli(1795307496150), Runtime: 1915 * time.Millisecond,
		Sent: 1, Received: 2, Exit: -1, Signal: 15, Command: "a\nb"}
	if err != nil || r != want {
		t.Errorf("%+v, %v, want %+v", r, err, want)
	}
}

func TestReadLog(t *testing.T) {
	again := "2\t:\t1.0\t1.0\t0\t0\t0\t0\tagain\n" // the last time counts
	all, size, err := jobs.ReadLog(strings.NewReader(parallelLog + again + "4\t:\t1.0\t1.0\t0\t0\t0\t0\tcut off"))
	if err != nil || size != int64(len(parallelLog+again)) {
		t.Fatalf("%d bytes, %v, want %d", size, err, len(parallelLog+again))
	}
	for seq, want := range map[int64][2]bool{1: {true, true}, 2: {true, true}, 3: {true, false}, 4: {false, false}} {
		if got := [2]bool{all.Skip(seq, false), all.Skip(seq, true)}; got != want {
			t.Errorf("%d: skipped %t, want %t", seq, got, want)
		}
	}
	for _, line := range []string{"x\n", "0\t:\t1\t1\t0\t0\t0\t0\tc\n", "1\t:\tNaN\t1\t0\t0\t0\t0\tc\n", "1\t:\t1\t1\t0\t0\tx\t0\tc\n", "\n"} {
		if _, _, err := jobs.ReadLog(strings.NewReader(jobs.LogHeader + line)); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%q: %v, want an error of line 2", line, err)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for line := range strings.Lines(parallelLog) {
		f.Add(strings.TrimSuffix(line, "\n"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, err := jobs.ParseRecord(line)
		if err != nil || strings.Contains(line, "\n") {
			return
		}
		text := string(r.AppendLine(nil))
		if strings.Count(text, "\n") != 1 {
			t.Fatalf("%q became %q", line, text)
		}
		if again, err := jobs.ParseRecord(strings.TrimSuffix(text, "\n")); err != nil || again.Seq != r.Seq ||
			again.Exit != r.Exit || again.Signal != r.Signal || again.Command != r.Command {
			t.Fatalf("%q became %+v, %v, want %+v", line, again, err, r)
		}
	})
}
