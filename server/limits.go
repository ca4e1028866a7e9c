package server

import (
	"errors"
	"fmt"
	"time"
)

// Fixed by measurement: static windows of this size switch off the bandwidth estimator, which costs a
// ping for each small message, and bound what a peer can make the server hold for it.
const (
	streamWindow    = 64 << 10
	connWindow      = 256 << 10
	headerTableSize = 4 << 10

	// streamWorkers is how many goroutines of a listener serve one call after the other: a goroutine that is made for
	// a call grows its stack anew, which takes a fifth of the call. Where all are busy, as with streams, one is made.
	streamWorkers = 64

	// minPingInterval is how often a client may ping without an answer being due to it.
	minPingInterval = 5 * time.Second
)

// Limits bounds everything that a caller can make the server hold or wait for. The zero value of each
// field is its default. Bytes are of the encoded form. Being over a limit is RESOURCE_EXHAUSTED with a
// reason, unless the field says otherwise.
type Limits struct {
	// MaxConnections bounds the open connections of all listeners together, from 1 to 1,000,000. The
	// default is the lesser of 10,000 and half of the file descriptors that the process may open.
	MaxConnections int

	// MaxConnectionsPerUser bounds the connections of one user id on the unix socket, from 1 to
	// 1,000,000. The server's own user is exempt. The default is 256.
	MaxConnectionsPerUser int

	// MaxConnectionsPerAddress bounds the connections of one IPv4 address or one IPv6 /64 network, from
	// 1 to 1,000,000. Loopback is exempt. The default is 64.
	MaxConnectionsPerAddress int

	// MaxStreamsPerConnection bounds the calls in flight on one connection, from 1 to 10,000. A client
	// that keeps to the protocol waits; a stream over it is refused. The default is 64.
	MaxStreamsPerConnection int

	// MaxStreams bounds the calls in flight on all connections together, state streams among them, from 1 to
	// 1,000,000; releases and renewals of permits pass an eighth beyond it. One takes about 16 KiB. The default is
	// 32,768.
	MaxStreams int

	// MaxSubscribers bounds the open state streams of all connections, from 1 to 1,000,000. The default
	// is 16,384.
	MaxSubscribers int

	// MaxProcessSubscribers bounds those of them that are of single processes, from 1 to 16,384. Each is judged
	// by an engine of its own. The default is 256.
	MaxProcessSubscribers int

	// MaxSessions bounds the sessions of workers that lease permits, from 1 to 1,000,000, and with them those
	// that lost their stream. One takes about 16 KiB, and its stream as much. The default is 16,384.
	MaxSessions int

	// MaxSessionsPerIdentity bounds those of one identity, from 1 to 1,000,000. Operators are exempt. The
	// default is 256.
	MaxSessionsPerIdentity int

	// MaxWaitersPerConnection bounds the calls of one connection that wait for a permit, from 1 to 10,000, so
	// that the others pass. It should stay well under MaxStreamsPerConnection. The default is 32.
	MaxWaitersPerConnection int

	// MaxPermits bounds the permits that AcquirePermit and HoldPermit have leased and those that are waited
	// for, from 1 to 1,000,000, whatever their count. The default is 65,536.
	MaxPermits int

	// MaxPermitsPerIdentity bounds those of one identity, from 1 to 1,000,000. The default is 16,384.
	MaxPermitsPerIdentity int

	// MaxTasks bounds the tasks that are known, those that ended lately among them, from 1 to 100,000. One that has
	// ended makes room for a new one. The default is 4,096.
	MaxTasks int

	// MaxTasksPerIdentity bounds those of one identity, from 1 to 100,000. Operators are exempt. The default is 256.
	MaxTasksPerIdentity int

	// MaxReceiveBytes bounds a request, from 1 KiB to 64 MiB. The default is 256 KiB.
	MaxReceiveBytes int

	// MaxSendBytes bounds a response, from 1 KiB to 64 MiB. The default is 4 MiB.
	MaxSendBytes int

	// MaxHeaderBytes bounds the headers of a call, from 1 KiB to 1 MiB, counted as HTTP/2 does: 32 bytes
	// a header more than its text. A client that keeps to the protocol sends no call over it; of others the
	// call is reset, or the connection closed. The default is 16 KiB.
	MaxHeaderBytes int

	// HandshakeTimeout bounds the time from accept to a connection that speaks HTTP/2, TLS included,
	// from 100 ms to 1 minute. The connection is closed. The default is 5 s.
	HandshakeTimeout time.Duration

	// IdleTimeout is how long a connection may stay without a call, from 1 s to 24 h. It is closed; a
	// client reconnects by itself. The default is 5 min.
	IdleTimeout time.Duration

	// ConnectionAge is how long a connection that is not from this host takes new calls, from 1 min to
	// 24 h, give or take 10 %. Then the client is told to reconnect, which takes up new certificates.
	// Open streams are never cut. The default is 30 min.
	ConnectionAge time.Duration

	// SendTimeout is how long one message of a stream may wait for a reader that does not read, from
	// 100 ms to 1 min. Then the stream ends; a connection on which it happens twice is closed. The
	// default is 5 s.
	SendTimeout time.Duration

	// UnaryTimeout is the deadline of a unary call whose caller set none, and how long any call may take
	// to send its first request, from 100 ms to 10 min. The call is DEADLINE_EXCEEDED. The default is 10 s.
	UnaryTimeout time.Duration

	// KeepaliveTime is the silence after which the server asks whether a client is there, from 1 s to
	// 1 h. The default is 10 s.
	KeepaliveTime time.Duration

	// KeepaliveTimeout is how long the answer may take, from 1 s to 1 min. The connection is closed. The
	// default is 5 s.
	KeepaliveTimeout time.Duration
}

// The greatest default of MaxConnections; half of the file descriptors may be less.
const maxDefaultConnections = 10_000

// WithDefaults returns l with each zero field replaced by its default.
func (l Limits) WithDefaults() Limits {
	for _, f := range l.ints() {
		if *f.value == 0 {
			*f.value = f.standard
		}
	}
	for _, f := range l.durations() {
		if *f.value == 0 {
			*f.value = f.standard
		}
	}
	return l
}

// validate reports every field that is out of its range. Zero is the default and so in range.
func (l Limits) validate() error {
	var errs []error
	for _, f := range l.ints() {
		if *f.value != 0 && (*f.value < f.least || *f.value > f.most) {
			errs = append(errs, fmt.Errorf("%s: %d is not from %d to %d", f.name, *f.value, f.least, f.most))
		}
	}
	for _, f := range l.durations() {
		if *f.value != 0 && (*f.value < f.least || *f.value > f.most) {
			errs = append(errs, fmt.Errorf("%s: %v is not from %v to %v", f.name, *f.value, f.least, f.most))
		}
	}
	return errors.Join(errs...)
}

// bounded is one field of Limits with its range and its default.
type bounded[T any] struct {
	name                  string
	value                 *T
	least, most, standard T
}

func (l *Limits) ints() []bounded[int] {
	const million = 1_000_000
	return []bounded[int]{
		{"MaxConnections", &l.MaxConnections, 1, million, min(maxDefaultConnections, max(1, maxOpenFiles()/2))},
		{"MaxConnectionsPerUser", &l.MaxConnectionsPerUser, 1, million, 256},
		{"MaxConnectionsPerAddress", &l.MaxConnectionsPerAddress, 1, million, 64},
		{"MaxStreamsPerConnection", &l.MaxStreamsPerConnection, 1, 10_000, 64},
		{"MaxStreams", &l.MaxStreams, 1, million, 32_768},
		{"MaxSubscribers", &l.MaxSubscribers, 1, million, 16_384},
		{"MaxProcessSubscribers", &l.MaxProcessSubscribers, 1, 16_384, 256},
		{"MaxSessions", &l.MaxSessions, 1, million, 16_384},
		{"MaxSessionsPerIdentity", &l.MaxSessionsPerIdentity, 1, million, 256},
		{"MaxWaitersPerConnection", &l.MaxWaitersPerConnection, 1, 10_000, 32},
		{"MaxPermits", &l.MaxPermits, 1, million, 65_536},
		{"MaxPermitsPerIdentity", &l.MaxPermitsPerIdentity, 1, million, 16_384},
		{"MaxTasks", &l.MaxTasks, 1, 100_000, 4_096},
		{"MaxTasksPerIdentity", &l.MaxTasksPerIdentity, 1, 100_000, 256},
		{"MaxReceiveBytes", &l.MaxReceiveBytes, 1 << 10, 64 << 20, 256 << 10},
		{"MaxSendBytes", &l.MaxSendBytes, 1 << 10, 64 << 20, 4 << 20},
		{"MaxHeaderBytes", &l.MaxHeaderBytes, 1 << 10, 1 << 20, 16 << 10},
	}
}

func (l *Limits) durations() []bounded[time.Duration] {
	return []bounded[time.Duration]{
		{"HandshakeTimeout", &l.HandshakeTimeout, 100 * time.Millisecond, time.Minute, 5 * time.Second},
		{"IdleTimeout", &l.IdleTimeout, time.Second, 24 * time.Hour, 5 * time.Minute},
		{"ConnectionAge", &l.ConnectionAge, time.Minute, 24 * time.Hour, 30 * time.Minute},
		{"SendTimeout", &l.SendTimeout, 100 * time.Millisecond, time.Minute, 5 * time.Second},
		{"UnaryTimeout", &l.UnaryTimeout, 100 * time.Millisecond, 10 * time.Minute, 10 * time.Second},
		{"KeepaliveTime", &l.KeepaliveTime, time.Second, time.Hour, 10 * time.Second},
		{"KeepaliveTimeout", &l.KeepaliveTimeout, time.Second, time.Minute, 5 * time.Second},
	}
}
