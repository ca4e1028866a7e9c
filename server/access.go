package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	channelzpb "google.golang.org/grpc/channelz/grpc_channelz_v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// methodRoles is the least role for each method. A method without a row is refused, also where a service
// of that name is registered.
var methodRoles = map[string]Role{
	headroomv1.StatusService_GetSample_FullMethodName:      RoleReader,
	headroomv1.StatusService_GetStatus_FullMethodName:      RoleReader,
	headroomv1.StatusService_WatchSnapshots_FullMethodName: RoleReader,
	headroomv1.StatusService_ReportLoad_FullMethodName:     RoleWorker,

	headroomv1.SeverityService_GetSeverity_FullMethodName:   RoleReader,
	headroomv1.SeverityService_WatchSeverity_FullMethodName: RoleReader,

	headroomv1.PermitService_Attach_FullMethodName:        RoleWorker,
	headroomv1.PermitService_AcquirePermit_FullMethodName: RoleWorker,
	headroomv1.PermitService_RenewPermit_FullMethodName:   RoleWorker,
	headroomv1.PermitService_ReleasePermit_FullMethodName: RoleWorker,
	headroomv1.PermitService_HoldPermit_FullMethodName:    RoleWorker,
	headroomv1.PermitService_Explain_FullMethodName:       RoleWorker,
	headroomv1.PermitService_ListSessions_FullMethodName:  RoleWorker,
	headroomv1.PermitService_SetLimit_FullMethodName:      RoleOperator,
	headroomv1.PermitService_KickSession_FullMethodName:   RoleOperator,

	headroomv1.TaskService_RegisterTask_FullMethodName:            RoleWorker,
	headroomv1.TaskService_UnregisterTask_FullMethodName:          RoleWorker,
	headroomv1.TaskService_ListTasks_FullMethodName:               RoleWorker,
	headroomv1.TaskService_GetTaskSample_FullMethodName:           RoleWorker,
	headroomv1.TaskService_GetProcessSample_FullMethodName:        RoleWorker,
	headroomv1.TaskService_WatchTask_FullMethodName:               RoleWorker,
	headroomv1.DiagnosticsService_StartDiagnostics_FullMethodName: RoleWorker,
	headroomv1.DiagnosticsService_ListArtifacts_FullMethodName:    RoleWorker,
	headroomv1.DiagnosticsService_UploadArtifact_FullMethodName:   RoleWorker,
	headroomv1.DiagnosticsService_DownloadArtifact_FullMethodName: RoleWorker,
	headroomv1.DiagnosticsService_DeleteArtifact_FullMethodName:   RoleWorker,
	headroomv1.DiagnosticsService_PinArtifact_FullMethodName:      RoleOperator,

	healthpb.Health_Check_FullMethodName: RoleReader,
	healthpb.Health_List_FullMethodName:  RoleReader,
	healthpb.Health_Watch_FullMethodName: RoleReader,

	reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName: RoleReader,

	channelzpb.Channelz_GetTopChannels_FullMethodName:   RoleOperator,
	channelzpb.Channelz_GetServers_FullMethodName:       RoleOperator,
	channelzpb.Channelz_GetServer_FullMethodName:        RoleOperator,
	channelzpb.Channelz_GetServerSockets_FullMethodName: RoleOperator,
	channelzpb.Channelz_GetChannel_FullMethodName:       RoleOperator,
	channelzpb.Channelz_GetSubchannel_FullMethodName:    RoleOperator,
	channelzpb.Channelz_GetSocket_FullMethodName:        RoleOperator,
}

// Access says which role a caller has. Its zero value is the default: on the unix socket the server's own
// user and root are operator and members of group headroom are worker; loopback is reader; a verified
// client certificate is worker; anybody else is refused.
type Access struct {
	// LoopbackRole is the role of callers over TCP on loopback that give no credentials. 0 means
	// RoleReader. Every user and every container in the host's network can be such a caller.
	LoopbackRole Role

	// Tokens are the bearer tokens that are accepted; see [LoadTokens]. A caller with one has its role,
	// whatever the connection would give. At most 1,024.
	Tokens []Token

	// CertRoles gives the role of a client certificate by its name: the first URI SAN, such as
	// spiffe://example.org/worker, or CN= and the subject's common name when it has no URI SAN.
	CertRoles map[string]Role

	// DefaultCertRole is the role of a verified client certificate that CertRoles does not name. 0 means
	// RoleWorker.
	DefaultCertRole Role
}

// maxTokens bounds the work of looking one up, as every lookup compares with all of them.
const maxTokens = 1024

// validate reports every fault of a.
func (a Access) validate() error {
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
	}
	if a.LoopbackRole != 0 && !a.LoopbackRole.valid() {
		fault("LoopbackRole", "%v is not a role", a.LoopbackRole)
	}
	if a.DefaultCertRole != 0 && !a.DefaultCertRole.valid() {
		fault("DefaultCertRole", "%v is not a role", a.DefaultCertRole)
	}
	for _, name := range slices.Sorted(maps.Keys(a.CertRoles)) {
		if !strings.Contains(name, ":") && !strings.HasPrefix(name, commonNamePrefix) {
			fault("CertRoles", "%q is neither a URI nor CN=NAME", name)
		}
		if r := a.CertRoles[name]; !r.valid() {
			fault("CertRoles", "%q: %v is not a role", name, r)
		}
	}
	if len(a.Tokens) > maxTokens {
		fault("Tokens", "%d are more than %d", len(a.Tokens), maxTokens)
	}
	names, sums := map[string]bool{}, map[[32]byte]string{}
	for i, t := range a.Tokens {
		field := fmt.Sprintf("Tokens[%d]", i)
		if err := t.validate(); err != nil {
			fault(field, "%w", err)
		}
		if names[t.Name] {
			fault(field, "the name %q is taken", clip(t.Name))
		}
		if other, ok := sums[t.SHA256]; ok {
			fault(field, "%q has the same token as %q", clip(t.Name), clip(other))
		}
		names[t.Name], sums[t.SHA256] = true, t.Name
	}
	return errors.Join(errs...)
}

// accessTable decides who may call what. It is safe for concurrent use.
type accessTable struct {
	Access
	methods  map[string]Role
	log      *slog.Logger
	refusals occasional
}

// newAccessTable returns the table of a, which was validated, with its defaults filled in.
func newAccessTable(a Access, log *slog.Logger) *accessTable {
	if a.LoopbackRole == 0 {
		a.LoopbackRole = RoleReader
	}
	if a.DefaultCertRole == 0 {
		a.DefaultCertRole = RoleWorker
	}
	return &accessTable{Access: a, methods: methodRoles, log: log}
}

// check returns nil if the call may go on, and else the typed error that says why not.
func (a *accessTable) check(c *call, method string) error {
	if c.err != nil {
		return c.err
	}
	need, ok := a.methods[method]
	switch {
	case !ok:
		return &unknownMethodError{method: method}
	case c.identity.Role >= need:
		return nil
	case c.identity.Name == anonymous:
		return &credentialError{reason: reasonCredentialsRequired, text: c.hint}
	default:
		return &deniedError{method: method, identity: c.identity, need: need, hint: c.hint}
	}
}

// admit is check for the call of ctx, with a line in the log for a refusal: one a second for each
// identity, as refusals cost their sender nothing.
func (a *accessTable) admit(ctx context.Context, method string) error {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return errors.New("server: the call has no identity")
	}
	err := a.check(c, method)
	if err == nil {
		return nil
	}
	if left, due := a.refusals.due(time.Now(), c.identity.Name); due {
		a.log.LogAttrs(ctx, slog.LevelWarn, "refused a call",
			slog.String("identity", c.identity.Name),
			slog.Int("pid", c.identity.PID),
			slog.String("method", clip(method)),
			slog.String("reason", clip(err.Error())),
			slog.Int("unlogged", left))
	}
	return err
}

// A deniedError reports a caller who is known and whose role does not reach the method.
type deniedError struct {
	method   string
	identity Identity
	need     Role
	hint     string // how to get a greater role
}

func (e *deniedError) Error() string {
	return fmt.Sprintf("%s needs role %v, and %s has %v: %s", e.method, e.need, e.identity.Name, e.identity.Role, e.hint)
}

// The reasons of a credentialError.
const (
	reasonCredentialsRequired = "CREDENTIALS_REQUIRED"
	reasonTokenInvalid        = "TOKEN_INVALID"
	reasonTokenExposed        = "TOKEN_OVER_PLAINTEXT"
)

// A credentialError reports a caller who is not known: no credentials, or ones that do not hold.
type credentialError struct{ reason, text string }

func (e *credentialError) Error() string { return e.text }

// An unknownMethodError reports a method that has no row in the role table.
type unknownMethodError struct{ method string }

func (e *unknownMethodError) Error() string { return fmt.Sprintf("unknown method %q", clip(e.method)) }
