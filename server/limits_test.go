package server

import (
	"strings"
	"testing"
	"time"
)

func TestLimitsDefaultsAreWithinTheirRanges(t *testing.T) {
	l := Limits{}.WithDefaults()
	if err := l.validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, f := range l.ints() {
		if *f.value == 0 {
			t.Errorf("%s has no default", f.name)
		}
	}
	for _, f := range l.durations() {
		if *f.value == 0 {
			t.Errorf("%s has no default", f.name)
		}
	}
	set := Limits{MaxSubscribers: 7, IdleTimeout: time.Hour}.WithDefaults()
	if set.MaxSubscribers != 7 || set.IdleTimeout != time.Hour {
		t.Errorf("WithDefaults changed what was set: %+v", set)
	}
}

func TestLimitsReportsAllFaults(t *testing.T) {
	err := Limits{MaxConnections: -1, MaxReceiveBytes: 1 << 30, MaxStreamsPerConnection: 20_000,
		HandshakeTimeout: time.Millisecond, ConnectionAge: -time.Hour, SendTimeout: time.Second}.validate()
	if err == nil {
		t.Fatal("validate = nil, want an error")
	}
	for _, want := range []string{"MaxConnections: -1 is not from 1 to 1000000", "MaxReceiveBytes: 1073741824",
		"MaxStreamsPerConnection: 20000", "HandshakeTimeout: 1ms is not from 100ms to 1m0s", "ConnectionAge: -1h0m0s"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not hold %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "SendTimeout") {
		t.Errorf("error names a field that is in range:\n%v", err)
	}
}
