package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/headroom-rpc/headroom/client"
)

func newHealth() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask whether the server serves; for health checks of containers",
		Long: `Ask the server whether it serves, by grpc.health.v1. Exit 0 when it does, 1 when
it does not (it is starting or ending), and 3 when it cannot be reached.`,
		Example: examples(
			"headroom health",
			"headroom health --addr 127.0.0.1:7070 --timeout 1s",
		),
		Args: takes(cobra.NoArgs),
	}
	server := addServerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), server.timeout)
		defer cancel()
		c, err := server.dial(ctx)
		var exit *exitError
		if errors.As(err, &exit) && exit.code == exitUnknown && client.Reason(err) != "" {
			exit.code = exitNotServing // it answered, and said why not
		}
		if err != nil {
			return err
		}
		defer c.Close()
		answer, err := healthv1.NewHealthClient(c.Conn()).Check(ctx, &healthv1.HealthCheckRequest{})
		if err != nil {
			return callError(err)
		}
		if answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			return &exitError{exitNotServing, errors.New("the server does not serve: " + answer.GetStatus().String())}
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s serves\n", clean(c.Server().Address)); err != nil {
			return &exitError{exitUnknown, err} // not that of a server that does not serve
		}
		return nil
	}
	return cmd
}
