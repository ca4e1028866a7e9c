//go:build !unix

package diagnostics_test

import "testing"

func killSelf() { panic("not here") }

func killedChild(t *testing.T, _, _ string) []string {
	t.Skip("no signals")
	return nil
}
