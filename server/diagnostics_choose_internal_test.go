package server

import (
	"errors"
	"os"
	"testing"

	"github.com/headroom-rpc/headroom/diagnostics"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// Under pressure no profile begins that a task asks for; what costs little does, and so does what is always recorded.
func TestNoProfileUnderPressure(t *testing.T) {
	level := 0
	s := &diagnosticsService{
		config: DiagnosticsConfig{
			Allow: []string{"memory", "cpu_profile", "goroutines"}, Always: []string{"trace"}, MaxProfiles: 1,
		}.withDefaults(),
		severity: func() int { return level }, trees: newTreeReader(),
		profiles: &profileSlots{most: 1, held: make(map[profiled]int)},
	}
	for _, tt := range []struct {
		level  int
		asked  []string
		chosen int
		err    bool
	}{
		{0, []string{"cpu_profile", "memory"}, 3, false},
		{1, []string{"cpu_profile"}, 2, false},
		{2, []string{"cpu_profile", "memory", "goroutines"}, 3, false},
		{5, []string{"cpu_profile"}, 1, false},
	} {
		level = tt.level
		r := &recording{
			service: s, identity: Identity{Name: "uid:0", Role: RoleOperator, PID: -1}, run: newInstanceID(),
			start: &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: tt.asked, Pid: int64(os.Getpid())},
		}
		err := r.choose(t.Context())
		if (err != nil) != tt.err || len(r.chosen) != tt.chosen {
			t.Errorf("level %d, asked for %v: chosen %v, refused %v, %v", tt.level, tt.asked, r.chosen, r.refused, err)
		}
		if tt.level >= 2 && (len(r.refused) != 1 || r.refused[0].Reason != diagnostics.Severe) {
			t.Errorf("level %d: refused %v, want the profile for the pressure", tt.level, r.refused)
		}
		r.release()
	}
	if len(s.profiles.held) != 0 {
		t.Errorf("slots stay taken: %v", s.profiles.held)
	}
	s.config.Always = nil
	level = 2
	r := &recording{
		service: s, identity: Identity{Name: "uid:0", Role: RoleOperator, PID: -1}, run: newInstanceID(),
		start: &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"cpu_profile"}, Pid: int64(os.Getpid())},
	}
	var nothing *profilesError
	if err := r.choose(t.Context()); !errors.As(err, &nothing) {
		t.Errorf("with nothing else to record: %v, want a refusal", err)
	}
	r.release()
}
