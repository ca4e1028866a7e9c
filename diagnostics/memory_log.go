package diagnostics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A MemoryLog is what [RecordMemory] wrote. As text it is Pulp's memory.datum with further columns: tab-separated
// values, '#' before what is no sample, the time in seconds, the memory in MB of 2^20 bytes, and NaN for what is not
// known, as gnuplot takes it:
//
//	plot 'memory.datum' using 1:2 with lines
type MemoryLog struct {
	Samples []MemorySample
}

// A MemorySample is one reading and when it was made, counted from the begin of the recording. Its Peak is the most
// that was seen up to then.
type MemorySample struct {
	At time.Duration
	Memory
}

const memoryHeader = "# Seconds\tMemory in MB\tPeak in MB\tPSS in MB\tSwap in MB\tCgroup in MB\tCgroup peak in MB\tProcesses\n"

const (
	memoryColumns = 8
	mebibyte      = 1 << 20

	// maxMemorySamples is a month at the default interval.
	maxMemorySamples = 1_300_000
)

func appendMemory(b []byte, s MemorySample) []byte {
	b = strconv.AppendFloat(b, s.At.Seconds(), 'f', 3, 64)
	for _, size := range []*int64{&s.RSS, s.Peak, s.PSS, s.Swap, s.Cgroup, s.CgroupPeak} {
		if b = append(b, '\t'); size == nil {
			b = append(b, "NaN"...)
			continue
		}
		b = strconv.AppendFloat(b, float64(*size)/mebibyte, 'f', 3, 64)
	}
	b = append(b, '\t')
	return append(strconv.AppendInt(b, int64(s.Processes), 10), '\n')
}

// ParseMemoryLog parses the text form, Pulp's own with two columns too. A last line that is not whole is left out.
// Sizes are right to 1 KiB. It returns an error that names the line for what is no memory log.
func ParseMemoryLog(text []byte) (*MemoryLog, error) {
	log := &MemoryLog{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if line[len(line)-1] != '\n' {
			break
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if len(log.Samples) == maxMemorySamples {
			return nil, fmt.Errorf("diagnostics: memory log: more than %d samples", maxMemorySamples)
		}
		s, err := parseMemory(string(line))
		if err != nil {
			return nil, fmt.Errorf("diagnostics: memory log: line %d: %w", number, err)
		}
		log.Samples = append(log.Samples, s)
	}
	if number == 0 || len(log.Samples) == 0 && !bytes.HasPrefix(text, []byte("# Seconds")) {
		return nil, errors.New("diagnostics: memory log: there is none")
	}
	return log, nil
}

func parseMemory(line string) (s MemorySample, err error) {
	fields := strings.Split(line, "\t")
	if len(fields) < 2 || len(fields) > memoryColumns {
		return s, fmt.Errorf("%d columns, want 2 to %d", len(fields), memoryColumns)
	}
	sizes := make([]*int64, memoryColumns)
	for i, field := range fields {
		v, err := strconv.ParseFloat(field, 64)
		switch {
		case err != nil || math.IsInf(v, 0) || v < 0 || v > 1e12:
			return s, fmt.Errorf("column %d: %.32q is no number from 0 to 1e12", i+1, field)
		case math.IsNaN(v):
			continue
		}
		n := int64(math.Round(v*1024)) * 1024
		sizes[i] = &n
		switch i {
		case 0:
			s.At = time.Duration(v * float64(time.Second))
			if v > math.MaxInt64/float64(time.Second) {
				return s, fmt.Errorf("column 1: %.32q is too long a time", field)
			}
		case memoryColumns - 1:
			s.Processes = int(v)
		}
	}
	if sizes[0] == nil || sizes[1] == nil {
		return s, errors.New("the time or the memory is not known")
	}
	s.RSS, s.Peak, s.PSS, s.Swap, s.Cgroup, s.CgroupPeak = *sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6]
	return s, nil
}

// Text returns the text form.
func (l *MemoryLog) Text() []byte {
	text := []byte(memoryHeader)
	for _, s := range l.Samples {
		text = appendMemory(text, s)
	}
	return text
}

// JSON returns {"samples": [...]}, each with seconds, rss_bytes, peak_bytes, pss_bytes, swap_bytes, cgroup_bytes,
// cgroup_peak_bytes and processes; what is not known is null.
func (l *MemoryLog) JSON() ([]byte, error) {
	type sample struct {
		Seconds    float64 `json:"seconds"`
		RSS        int64   `json:"rss_bytes"`
		Peak       *int64  `json:"peak_bytes"`
		PSS        *int64  `json:"pss_bytes"`
		Swap       *int64  `json:"swap_bytes"`
		Cgroup     *int64  `json:"cgroup_bytes"`
		CgroupPeak *int64  `json:"cgroup_peak_bytes"`
		Processes  int     `json:"processes"`
	}
	all := make([]sample, len(l.Samples))
	for i, s := range l.Samples {
		all[i] = sample{math.Round(s.At.Seconds()*1000) / 1000, s.RSS, s.Peak, s.PSS, s.Swap, s.Cgroup, s.CgroupPeak, s.Processes}
	}
	return json.Marshal(map[string]any{"samples": all})
}
