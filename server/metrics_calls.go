package server

import (
	"sync"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// callMetrics counts calls and messages under the names, labels and values by which the interceptors of
// go-grpc-middleware count them. Those look up each counter by its labels each time, which is a thirtieth of a call.
type callMetrics struct {
	started, handled, received, sent *prometheus.CounterVec

	methods map[string]*methodCounters // those in the role table: callers make up the names of others
}

func newCallMetrics() *callMetrics {
	vector := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help},
			append([]string{"grpc_type", "grpc_service", "grpc_method"}, more...))
	}
	m := &callMetrics{
		started: vector("grpc_server_started_total", "Total number of RPCs started on the server."),
		handled: vector("grpc_server_handled_total",
			"Total number of RPCs completed on the server, regardless of success or failure.", "grpc_code"),
		received: vector("grpc_server_msg_received_total", "Total number of RPC stream messages received on the server."),
		sent:     vector("grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server."),
		methods:  make(map[string]*methodCounters),
	}
	for method := range methodRoles {
		m.methods[method] = &methodCounters{of: m}
	}
	return m
}

// of returns the counters of a method, nil for one that there is not; stream is nil for a unary one. They are shown from
// its first call on.
func (m *callMetrics) of(method string, stream *grpc.StreamServerInfo) *methodCounters {
	c := m.methods[method]
	if c != nil {
		c.once.Do(func() {
			call := interceptors.NewServerCallMeta(method, stream, nil)
			c.resolve(string(call.Typ), call.Service, call.Method)
		})
	}
	return c
}

// methodCounters are the counters of one method. A nil one counts nothing.
type methodCounters struct {
	of   *callMetrics
	once sync.Once

	labels                        []string
	starts, ends, inputs, outputs prometheus.Counter // ends are those with OK
}

func (c *methodCounters) resolve(labels ...string) {
	c.labels = labels
	c.starts = c.of.started.WithLabelValues(labels...)
	c.inputs = c.of.received.WithLabelValues(labels...)
	c.outputs = c.of.sent.WithLabelValues(labels...)
	c.ends = c.handled(codes.OK)
}

func (c *methodCounters) handled(code codes.Code) prometheus.Counter {
	return c.of.handled.WithLabelValues(append(c.labels[:len(c.labels):len(c.labels)], code.String())...)
}

func (c *methodCounters) begin() {
	if c != nil {
		c.starts.Inc()
	}
}

func (c *methodCounters) received() {
	if c != nil {
		c.inputs.Inc()
	}
}

func (c *methodCounters) sent() {
	if c != nil {
		c.outputs.Inc()
	}
}

// end counts a call that ended with the status err.
func (c *methodCounters) end(err error) {
	switch {
	case c == nil:
	case err == nil:
		c.ends.Inc()
	default:
		c.handled(status.Code(err)).Inc()
	}
}
