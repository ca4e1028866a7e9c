package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// interceptors returns what every call passes: the metrics see the status that the caller sees. Each interceptor stands
// on the stack of its handler, for a stream as long as that does, and two more of them double that stack: so what is
// ours is one.
func (s *Server) interceptors(access *accessTable, validator protovalidate.Validator) []grpc.ServerOption {
	calls := &callLogger{log: s.log}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.metrics.calls.UnaryServerInterceptor(), s.unaryCall(calls, access, validator)),
		grpc.ChainStreamInterceptor(
			onKnownMethods(s.metrics.calls.StreamServerInterceptor()), s.streamCall(calls, access, validator),
		),
	}
}

// unaryCall decides whether a unary call may begin, validates its request, turns its error or panic into a status, and
// logs that.
func (s *Server) unaryCall(
	calls *callLogger, access *accessTable, validator protovalidate.Validator,
) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
		begin := time.Now()
		err = guarded(func() error {
			if err := access.admit(ctx, info.FullMethod); err != nil {
				return err
			}
			if message, ok := req.(proto.Message); ok {
				if err := validator.Validate(message); err != nil {
					return err
				}
			}
			var err error
			resp, err = handler(ctx, req)
			return err
		})
		if err != nil {
			resp, err = nil, s.status(ctx, info.FullMethod, err)
		}
		calls.finished(ctx, info.FullMethod, nil, begin, err)
		return resp, err
	}
}

// streamCall decides whether a stream may begin, validates what it receives, turns its error or panic into a status, and
// logs that.
func (s *Server) streamCall(
	calls *callLogger, access *accessTable, validator protovalidate.Validator,
) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		begin, ctx := time.Now(), stream.Context()
		err := guarded(func() error {
			if err := access.admit(ctx, info.FullMethod); err != nil {
				return err
			}
			if info.FullMethod == healthv1.Health_Watch_FullMethodName {
				return s.watchHealth(srv, stream, handler)
			}
			return handler(srv, &validatedStream{stream, validator})
		})
		if err != nil {
			err = s.status(ctx, info.FullMethod, err)
		}
		calls.finished(ctx, info.FullMethod, info, begin, err)
		return err
	}
}

// validatedStream validates every message that it receives.
type validatedStream struct {
	grpc.ServerStream
	validator protovalidate.Validator
}

func (s *validatedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if message, ok := m.(proto.Message); ok {
		return s.validator.Validate(message)
	}
	return nil
}

// watchHealth ends calls of Health.Watch with OK when the server drains; by itself the health service keeps
// them open, and with them the server.
func (s *Server) watchHealth(srv any, stream grpc.ServerStream, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.noticed, cancel)()
	err := handler(srv, &contextStream{stream, ctx})
	if s.noticed.Err() != nil && stream.Context().Err() == nil {
		return nil
	}
	return err
}

// status returns the status of err, and logs the cause where the caller is not told of it.
func (s *Server) status(ctx context.Context, method string, err error) error {
	told := toStatus(ctx, err)
	if status.Code(told) != codes.Internal {
		return told
	}
	attrs := []slog.Attr{slog.String("request_id", requestID(told)), slog.String("method", method)}
	if panicked, ok := errors.AsType[*recovery.PanicError](err); ok {
		attrs = append(attrs, slog.Any("panic", panicked.Panic), slog.String("stack", string(panicked.Stack)))
	} else {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	s.log.LogAttrs(ctx, slog.LevelError, "internal error", attrs...)
	return told
}

// onKnownMethods applies next to methods that have a row in the role table only. Others reach the server as
// streams, under names that callers make up.
func onKnownMethods(next grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if _, ok := methodRoles[info.FullMethod]; !ok {
			return handler(srv, stream)
		}
		return next(srv, stream, info, handler)
	}
}

// contextStream is a stream with a context of its own.
type contextStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *contextStream) Context() context.Context { return s.ctx }
