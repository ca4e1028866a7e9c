package server

import (
	"log/slog"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/test/bufconn"
)

// Every method of every service of every kind of listener has a row in the role table, and no row stands for
// a method that nobody serves.
func TestEveryMethodHasARole(t *testing.T) {
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	h := newHub(1, 1)
	limits := Limits{}.WithDefaults()
	g := newGuard(limits, log)
	s := &Server{log: log, limits: limits, guard: g, hub: h, service: &statusService{}, health: health.NewServer(),
		severity: &severityService{}, permits: &permitService{}, tasks: &taskService{}, diagnostics: &diagnosticsService{},
		metrics: newMetrics("", nil, h, g, newSeverityCollector(nil), &permitCollector{&permitService{}})}
	served := make(map[string]bool)
	for _, kind := range []class{classUnix, classTCP, classFixed} {
		l := &Listener{listener: bufconn.Listen(1), class: kind}
		for service, info := range s.newGRPCServer(l, newAccessTable(Access{}, log), validator).GetServiceInfo() {
			for _, method := range info.Methods {
				name := "/" + service + "/" + method.Name
				served[name] = true
				if role, ok := methodRoles[name]; !ok || role <= RoleNone {
					t.Errorf("%s on a %v listener has no role", name, kind)
				}
				if kind != classUnix && service == "grpc.channelz.v1.Channelz" {
					t.Errorf("%s is served on a %v listener, want unix only", name, kind)
				}
			}
		}
	}
	for name := range methodRoles {
		if !served[name] {
			t.Errorf("the role table has a row for %s, which is not served", name)
		}
	}
	if len(served) == 0 {
		t.Error("nothing is served")
	}
}
