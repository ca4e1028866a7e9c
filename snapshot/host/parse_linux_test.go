package host

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	captured, err := os.ReadFile("testdata/linux-6.18/stat")
	if err != nil {
		t.Fatal(err)
	}
	var s statTimes
	if err := s.parse(captured); err != nil || s.count != 2 || s.total[tickUser] == 0 {
		t.Errorf("captured: %+v, %v; want 2 CPUs", s, err)
	}
	tests := []struct {
		name, text string
		total      cpuTimes
		online     []bool // nil: an error
	}{
		{"an old kernel without iowait and what follows", "cpu  1 2 3 4\ncpu0 1 2 3 4\nintr 1\n", cpuTimes{1, 2, 3, 4}, []bool{true}},
		{"guests and what may follow", "cpu  1 2 3 4 5 6 7 8 9 10 11\ncpu0 1 2 3 4\n", cpuTimes{1, 2, 3, 4, 5, 6, 7, 8}, []bool{true}},
		{"a CPU offline", "cpu  1 2 3 4\ncpu0 1 2 3 4\ncpu2 1 2 3 4\n", cpuTimes{1, 2, 3, 4}, []bool{true, false, true}},
		{"no end of the line", "cpu  1 2 3 4\ncpu0 1 2 3 4", cpuTimes{1, 2, 3, 4}, []bool{true}},
		{"empty", "", cpuTimes{}, nil},
		{"no total", "cpu0 1 2 3 4\n", cpuTimes{}, nil},
		{"no CPU", "cpu  1 2 3 4\nintr 1\n", cpuTimes{}, nil},
		{"too few fields", "cpu  1 2 3\ncpu0 1 2 3 4\n", cpuTimes{}, nil},
		{"too few fields of a CPU", "cpu  1 2 3 4\ncpu0 1 2 3\n", cpuTimes{}, nil},
		{"negative", "cpu  1 2 3 -4\ncpu0 1 2 3 4\n", cpuTimes{}, nil},
		{"too large", "cpu  1 2 3 18446744073709551615\ncpu0 1 2 3 4\n", cpuTimes{}, nil},
		{"not a number", "cpu  1 2 3 4 x\ncpu0 1 2 3 4\n", cpuTimes{}, nil},
		{"not a CPU", "cpu  1 2 3 4\ncpux 1 2 3 4\n", cpuTimes{}, nil},
		{"a CPU twice", "cpu  1 2 3 4\ncpu0 1 2 3 4\ncpu0 1 2 3 4\n", cpuTimes{}, nil},
		{"too many CPUs", "cpu  1 2 3 4\ncpu65536 1 2 3 4\n", cpuTimes{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s statTimes
			err := s.parse([]byte(tt.text))
			if tt.online == nil {
				if err == nil {
					t.Errorf("parse = %+v, want an error", s)
				}
				return
			}
			if err != nil || s.total != tt.total || !slices.Equal(s.online, tt.online) {
				t.Errorf("parse = %+v, %v; want total %v and online %v", s, err, tt.total, tt.online)
			}
		})
	}
}

func TestParseQuota(t *testing.T) {
	for text, want := range map[string]float64{
		"max 100000\n": 0, "50000 100000\n": 0.5, "250000 100000": 2.5, "1000 1000000\n": 0.001,
		"": -1, "max\n": -1, "max 0\n": -1, "50000\n": -1, "0 100000\n": -1, "-1 100000\n": -1, "1 2 3\n": -1,
		"50000 100000\nmax 1\n": -1, "max max\n": -1, "99999999999999999999999 100000\n": -1,
	} {
		got, err := parseCPUMax([]byte(text))
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("parseCPUMax(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]int{"-1\n": 0, "50000\n": 50000, "": -1, "0\n": -1, "-2\n": -1, "max\n": -1, "5\n5\n": -1} {
		got, err := parseCFSQuota([]byte(text))
		if (err != nil) != (want < 0) || err == nil && got != uint64(want) {
			t.Errorf("parseCFSQuota(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestParseCPUStat(t *testing.T) {
	tests := []struct {
		text string
		want cpuStat
		ok   bool
	}{
		{"usage_usec 26563\nuser_usec 1\nsystem_usec 2\n", cpuStat{used: 26563, hasUsed: true}, true},
		{"usage_usec 5\nnr_periods 13\nnr_throttled 11\nthrottled_usec 3\n", cpuStat{5, true, quotaUse{13, 11}, true}, true},
		{"nr_periods 0\nnr_throttled 0\nthrottled_time 0\n", cpuStat{hasQuota: true}, true},
		{"", cpuStat{}, true},
		{"nr_periods 13\n", cpuStat{}, false},
		{"usage_usec -5\n", cpuStat{}, false},
		{"usage_usec\n", cpuStat{}, false},
		{"usage_usec 5 6\n", cpuStat{}, false},
		{"usage_usec 5\nusage_usec 6\n", cpuStat{}, false},
	}
	for _, tt := range tests {
		got, err := parseCPUStat([]byte(tt.text))
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("parseCPUStat(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
	}
}

func TestParseLoadavg(t *testing.T) {
	for text, want := range map[string]loadavg{
		"0.55 0.18 0.49 1/95 7219\n":   {0.55, 1},
		"12.05 0.18 0.49 40/95 7219\n": {12.05, 40},
		"0.55 0.18 0.49 1/95":          {0.55, 1},
	} {
		if got, err := parseLoadavg([]byte(text)); err != nil || got != want {
			t.Errorf("parseLoadavg(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "\n", "0.5 0.1 0.4 1/9 7", "1 2 3 1/9 7\n", "0.55 0.18 0.49 195 7\n", "0.55 0.18 0.49 -1/95 7\n", "nan 0 0 1/2 3", "-0.55 0.18 0.49 1/95 7"} {
		if got, err := parseLoadavg([]byte(text)); err == nil {
			t.Errorf("parseLoadavg(%q) = %+v, want an error", text, got)
		}
	}
}

func TestParsePressure(t *testing.T) {
	for text, want := range map[string]stalls{
		"some avg10=0.62 avg60=0.93 avg300=0.64 total=289\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n": {289, 7, true},
		"some avg10=0.62 avg60=0.93 avg300=0.64 total=289\n":                                                 {289, 0, false},
	} {
		if got, err := parsePressure([]byte(text)); err != nil || got != want {
			t.Errorf("parsePressure(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "\n", "full total=7\n", "some avg10=0.62\n", "some total=\n", "some total=-7\n", "some total=7 more\n",
		"some total=7\nsome total=8\n", "some total=7\nhalf total=8\n", "some total=7\nfull total=8\nfull total=8\n"} {
		if got, err := parsePressure([]byte(text)); err == nil {
			t.Errorf("parsePressure(%q) = %+v, want an error", text, got)
		}
	}
}

func TestParseCPUList(t *testing.T) {
	for text, want := range map[string]string{
		"0-3,8\n": "xxxx....x", "0": "x", "2": "..x", "": "", "\n": "", "1-1\n": ".x",
		"3-1\n": "error", ",\n": "error", "1,\n": "error", "0-65536\n": "error", "0-\n": "error", "a\n": "error", "0\n1\n": "error",
	} {
		set, err := parseCPUList([]byte(text), nil)
		var got strings.Builder
		for _, has := range set {
			got.WriteString(map[bool]string{true: "x", false: "."}[has])
		}
		if err != nil && want != "error" || err == nil && got.String() != want {
			t.Errorf("parseCPUList(%q) = %s, %v; want %s", text, got.String(), err, want)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu7 1 2 3 4\nintr 1\n"), []byte("cpu  9 9 9 9\ncpu1 1 1 1 1\n"))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		var a, b statTimes
		if a.parse(before) != nil || b.parse(after) != nil {
			return
		}
		if a.count < 1 || a.count > len(a.online) || len(a.online) != len(a.cpus) {
			t.Fatalf("%d CPUs of %d numbers", a.count, len(a.online))
		}
		passed := b.total.since(&a.total)
		if all, busy := passed.sum(); busy < 0 || busy > all || math.IsInf(all, 0) {
			t.Fatalf("%v busy of %v", busy, all)
		}
	})
}

func FuzzParseLoadavg(f *testing.F) {
	f.Add([]byte("0.55 0.18 0.49 1/95 7219\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := parseLoadavg(text); err == nil && (got.runnable < 0 || !(got.load >= 0 && got.load < 1<<32)) {
			t.Fatalf("%+v", got)
		}
	})
}

func FuzzParsePressure(f *testing.F) {
	f.Add([]byte("some avg10=0.62 avg60=0.93 avg300=0.64 total=289\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := parsePressure(text); err == nil && (got.some > math.MaxInt64 || got.full > math.MaxInt64 || got.full > 0 && !got.hasFull) {
			t.Fatalf("%+v", got)
		}
	})
}

func FuzzParseQuota(f *testing.F) {
	f.Add([]byte("max 100000\n"))
	f.Add([]byte("50000 100000\n"))
	f.Add([]byte("-1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := parseCPUMax(text); err == nil && !(got >= 0 && !math.IsInf(got, 0)) {
			t.Fatalf("cpu.max %v", got)
		}
		if got, err := parseCFSQuota(text); err == nil && got == 0 && strings.TrimSpace(string(text)) != "-1" {
			t.Fatal("no quota")
		}
	})
}

func FuzzParseCPUStat(f *testing.F) {
	f.Add([]byte("usage_usec 5\nnr_periods 13\nnr_throttled 11\nthrottled_usec 3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseCPUStat(text)
		if err == nil && (got.used > math.MaxInt64 || !got.hasUsed && got.used > 0 || !got.hasQuota && got.quotaUse != quotaUse{}) {
			t.Fatalf("%+v", got)
		}
	})
}

func FuzzParseCPUList(f *testing.F) {
	f.Add([]byte("0-3,8\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := parseCPUList(text, nil)
		if len(set) > maxCPUs || err == nil && len(set) > 0 && !set[len(set)-1] {
			t.Fatalf("%d CPUs", len(set))
		}
	})
}

func FuzzParseSchedstat(f *testing.F) {
	f.Add([]byte("version 17\ntimestamp 4295892\ncpu0 0 0 0 0 0 0 3580213000 120934000 42213\ndomain0 MC 3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := parseSchedstat(text); err == nil && (got.cpus < 1 || got.cpus > maxCPUs || got.waited > math.MaxInt64) {
			t.Fatalf("%+v", got)
		}
	})
}

func FuzzParseDiskstats(f *testing.F) {
	f.Add([]byte("8 0 sda 100 0 2000 300 50 0 4000 600 0 700 900\n8 1 sda1 9 9 9 9 9 9 9 9 9 9 9\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Counters
		if parseDiskstats(text, &c) == nil && len(c.Disks) > maxDevices {
			t.Fatalf("%+v", c)
		}
	})
}

func FuzzParseNetDev(f *testing.F) {
	f.Add([]byte("a|b|c\na|b|c\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Counters
		if parseNetDev(text, &c) == nil && len(c.Interfaces) > maxDevices {
			t.Fatalf("%+v", c)
		}
	})
}
