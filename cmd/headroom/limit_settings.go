package main

import (
	"time"

	"github.com/headroom-rpc/headroom/server"
)

// The defaults of what reports may take.
const (
	defaultMaxReporters = 4_096
	defaultMaxSignals   = 64
)

// defaultLimits returns the defaults of server.Limits, with zero for the one that depends on the machine.
func defaultLimits() server.Limits {
	l := server.Limits{}.WithDefaults()
	l.MaxConnections = 0
	return l
}

func limitSettings(l *server.Limits) []setting {
	const million = 1_000_000
	const ms = time.Millisecond
	return []setting{
		countSetting("max-connections", &l.MaxConnections, 0, million,
			"open connections; 0 is 10000, or half of the file descriptors that may be open if that is less"),
		countSetting("max-connections-per-user", &l.MaxConnectionsPerUser, 1, million,
			"open connections of one user on the unix socket; the server's own user is exempt"),
		countSetting("max-connections-per-address", &l.MaxConnectionsPerAddress, 1, million,
			"open connections of one IPv4 address or IPv6 /64 network; loopback is exempt"),
		countSetting("max-streams-per-connection", &l.MaxStreamsPerConnection, 1, 10_000,
			"calls in flight on one connection"),
		countSetting("max-streams", &l.MaxStreams, 1, million,
			"calls in flight on all connections, state streams among them"),
		countSetting("max-subscribers", &l.MaxSubscribers, 1, million, "open state streams"),
		countSetting("max-process-subscribers", &l.MaxProcessSubscribers, 1, 16_384,
			"of these, streams of the severity of single processes"),
		countSetting("max-sessions", &l.MaxSessions, 1, million, "sessions of workers that lease permits"),
		countSetting("max-sessions-per-identity", &l.MaxSessionsPerIdentity, 1, million,
			"of these, sessions of one identity; operators are exempt"),
		countSetting("max-waiters-per-connection", &l.MaxWaitersPerConnection, 1, 10_000,
			"calls of one connection that wait for a permit"),
		countSetting("max-permits", &l.MaxPermits, 1, million,
			"permits that single calls have leased or wait for, whatever their count"),
		countSetting("max-permits-per-identity", &l.MaxPermitsPerIdentity, 1, million, "of these, those of one identity"),
		countSetting("max-tasks", &l.MaxTasks, 1, 100_000, "tasks that are known, those that ended lately among them"),
		countSetting("max-tasks-per-identity", &l.MaxTasksPerIdentity, 1, 100_000,
			"of these, those of one identity; operators are exempt"),
		sizeSetting("max-receive-size", &l.MaxReceiveBytes, 1<<10, 64<<20, "size of a request"),
		sizeSetting("max-send-size", &l.MaxSendBytes, 1<<10, 64<<20, "size of a response"),
		sizeSetting("max-header-size", &l.MaxHeaderBytes, 1<<10, 1<<20, "size of the headers of a call"),
		durationSetting("handshake-timeout", &l.HandshakeTimeout, 100*ms, time.Minute,
			"time from accept to a connection that speaks HTTP/2"),
		durationSetting("idle-timeout", &l.IdleTimeout, time.Second, 24*time.Hour,
			"time that a connection may stay without a call"),
		durationSetting("connection-age", &l.ConnectionAge, time.Minute, 24*time.Hour,
			"time that a connection from another host takes new calls"),
		durationSetting("send-timeout", &l.SendTimeout, 100*ms, time.Minute,
			"time that one message of a stream may wait for a slow reader"),
		durationSetting("unary-timeout", &l.UnaryTimeout, 100*ms, 10*time.Minute,
			"deadline of a call whose caller set none, and time to send a request"),
		durationSetting("keepalive-time", &l.KeepaliveTime, time.Second, time.Hour,
			"silence after which the server asks whether a client is there"),
		durationSetting("keepalive-timeout", &l.KeepaliveTimeout, time.Second, time.Minute,
			"time that the client has to answer"),
	}
}

func (c *serveSettings) reportSettings() []setting {
	return []setting{
		countSetting("max-reporters", &c.maxReporters, 1, 65_536, "workers whose load reports are kept"),
		countSetting("max-signals", &c.maxSignals, 1, 256, "custom signals that reports may add"),
	}
}
