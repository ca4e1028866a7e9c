package diagnose_test

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/client/diagnose"
)

// cpuTime returns the CPU time of this process.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

var sink any

// work is a task that allocates, switches goroutines, and writes a line now and then.
func work(n int, log *slog.Logger) {
	requests, answers := make(chan []byte), make(chan any)
	go func() {
		for text := range requests {
			var v any
			_ = json.Unmarshal(text, &v)
			answers <- v
		}
		close(answers)
	}()
	text := []byte(`{"name":"value","list":[1,2,3,4,5,6,7,8],"nested":{"a":1.5,"b":"text","c":[true,false,null]}}`)
	for i := range n {
		requests <- text
		sink = <-answers
		if i%1000 == 0 {
			log.Info("worked", "i", i)
		}
	}
	close(requests)
	<-answers
}

// What each recorder adds to the CPU time of a task, beside the same task without it in the same run.
func BenchmarkOverhead(b *testing.B) {
	const units = 20_000
	for _, recorder := range []string{"none", "cpu_profile", "allocation_profile", "trace", "goroutines", "logs"} {
		b.Run(recorder, func(b *testing.B) {
			f := &fake{}
			c := serve(b, f)
			var plain, recorded time.Duration
			for b.Loop() {
				began := cpuTime(b)
				work(units, slog.New(slog.DiscardHandler))
				plain += cpuTime(b) - began
				names := []string{recorder}
				if recorder == "none" {
					names = nil
				}
				s, err := diagnose.Start(b.Context(), c, diagnose.Config{Task: "t", Recorders: names, TriggerLevel: -1, HeapInterval: 100 * time.Millisecond})
				if err != nil {
					b.Fatal(err)
				}
				began = cpuTime(b)
				work(units, slog.New(s.Handler(slog.DiscardHandler)))
				recorded += cpuTime(b) - began
				if _, err := s.Finish(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(100*(recorded.Seconds()/plain.Seconds()-1), "%more-cpu")
			b.ReportMetric(0, "ns/op")
		})
	}
}
