package server

import (
	"testing"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// Who asks for an account has entered the arbiter, for which a law that takes a step waits while it holds the regime.
func TestAccountsDoNotWaitForTheLaw(t *testing.T) {
	var s permitService
	s.regime.shadowed.Store(&[]*headroomv1.ShadowLimit{{Law: "aimd", Limit: 3}})
	s.regime.mu.Lock()
	defer s.regime.mu.Unlock()
	got := make(chan *headroomv1.ResourceAccount)
	go func() { got <- s.accountMessage(&permit.ResourceAccount{Resource: HostResource}) }()
	if shadows := (<-got).GetShadows(); len(shadows) != 1 || shadows[0].GetLimit() != 3 {
		t.Errorf("shadows = %v, want that of aimd", shadows)
	}
}
