package server

import (
	"sync"
	"time"
)

// occasional spaces out log lines that a caller can provoke: one a second for each key, and one a second
// for all keys together that come when it holds its bound of them. The zero value is ready; it is safe for
// concurrent use.
type occasional struct {
	mu    sync.Mutex
	swept time.Time
	keys  map[string]*spacing
}

type spacing struct {
	last     time.Time
	unlogged int
}

const (
	logInterval = time.Second
	maxLogKeys  = 1024
)

// due reports whether the line of key is to be logged now, and how many of its lines were not logged since
// the last one that was.
func (o *occasional) due(now time.Time, key string) (unlogged int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keys == nil {
		o.keys = make(map[string]*spacing)
	}
	s := o.keys[key]
	if s == nil {
		if len(o.keys) >= maxLogKeys {
			o.sweepLocked(now)
		}
		if len(o.keys) >= maxLogKeys {
			key = "" // shared by all that found no room
			s = o.keys[key]
		}
	}
	if s == nil {
		o.keys[key] = &spacing{last: now}
		return 0, true
	}
	if now.Sub(s.last) < logInterval {
		s.unlogged++
		return 0, false
	}
	unlogged, s.unlogged, s.last = s.unlogged, 0, now
	return unlogged, true
}

// sweepLocked drops the keys that are not holding a line back, at most once an interval.
func (o *occasional) sweepLocked(now time.Time) {
	if now.Sub(o.swept) < logInterval {
		return
	}
	o.swept = now
	for key, s := range o.keys {
		if now.Sub(s.last) >= logInterval {
			delete(o.keys, key)
		}
	}
}

// maxLogText bounds in bytes what one string of a caller takes of a log line or an error.
const maxLogText = 256

// clip returns s cut to maxLogText bytes.
func clip(s string) string {
	if len(s) <= maxLogText {
		return s
	}
	return s[:maxLogText] + "..."
}
