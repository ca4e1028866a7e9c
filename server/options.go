package server

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// grpcOptions returns the options of the grpc.Server that serves l: credentials, sizes, windows, keepalive,
// and the guard's part in each call, which for unary ones needs their services to be registered by observed. The
// limits hold their defaults. The other interceptors are the caller's; without access's, nobody is refused. No
// compressor is registered, so a message takes the memory of its size on the wire.
func grpcOptions(l *Listener, limits Limits, access *accessTable, g *guard) []grpc.ServerOption {
	params := keepalive.ServerParameters{
		MaxConnectionIdle: limits.IdleTimeout,
		Time:              limits.KeepaliveTime,
		Timeout:           limits.KeepaliveTimeout,
	}
	if l.remote() {
		// The grace after it stays infinite: an open stream is never cut.
		params.MaxConnectionAge = limits.ConnectionAge
	}
	return []grpc.ServerOption{
		grpc.Creds(&handshaker{listener: l, access: access}),
		grpc.InTapHandle((&entrance{guard: g, access: access}).begin),
		grpc.ChainStreamInterceptor(observeStream),
		// So that an unknown method is refused, counted and logged like any other.
		grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(ss)
			return &unknownMethodError{method: method}
		}),
		grpc.MaxConcurrentStreams(uint32(limits.MaxStreamsPerConnection)),
		grpc.MaxRecvMsgSize(limits.MaxReceiveBytes),
		grpc.MaxSendMsgSize(limits.MaxSendBytes),
		grpc.MaxHeaderListSize(uint32(limits.MaxHeaderBytes)),
		grpc.HeaderTableSize(headerTableSize),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ConnectionTimeout(limits.HandshakeTimeout),
		grpc.KeepaliveParams(params),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             minPingInterval,
			PermitWithoutStream: true,
		}),
		grpc.WaitForHandlers(true),
		grpc.NumStreamWorkers(streamWorkers),
	}
}
