package diagnostics

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The bounds of the texts of a Header, in bytes. They are data: none of them becomes a path.
const (
	MaxOwner = 320
	MaxTask  = 128
	MaxName  = 64
	maxRun   = 64
	maxWith  = 64 // names
)

// A Header is what is known of an artifact when it begins.
type Header struct {
	// Owner is the identity whose artifact it is, up to [MaxOwner] bytes. Required.
	Owner string `json:"owner"`

	// Task names the task that it is of, up to [MaxTask] bytes. Required.
	Task string `json:"task"`

	// Run identifies one recording of the task. Of two sealed artifacts of one task, run, name and part the later one
	// replaces the earlier, unless it was cut short and the earlier was not. Empty for none: then nothing is
	// replaced.
	Run string `json:"run,omitempty"`

	// Name is what it is called within the task: 1 to 64 letters, digits and any of "._-", beginning with a letter
	// or a digit. Required.
	Name string `json:"name"`

	// Recorder names what made it; see [Recorders].
	Recorder string `json:"recorder"`

	// Begin is when what it tells of began. Required.
	Begin time.Time `json:"begin"`

	// With names what else was recorded of the task at the same time; concurrent recorders skew each other.
	With []string `json:"with,omitempty"`

	// Failed keeps it for the time of failed tasks.
	Failed bool `json:"failed,omitempty"`

	// Part counts the artifacts of the run and the name that it goes on from; see [Store.NextPart]. None of them
	// replaces another. 0 for most.
	Part int `json:"part,omitempty"`
}

// An Artifact is one piece of evidence. The zero End, Size and SHA256 are those of one that is not sealed.
type Artifact struct {
	// ID identifies it: 26 letters and digits, made by the store from 130 random bits.
	ID string `json:"id"`

	Header

	// Sealed is whether it is complete, on the disk, and will not change.
	Sealed bool `json:"sealed"`

	// End is when what it tells of ended.
	End time.Time `json:"end"`

	// Size is that of the content in bytes, and SHA256 its digest.
	Size   int64  `json:"size"`
	SHA256 Digest `json:"sha256"`

	// Truncated says why it is not the whole; empty when it is.
	Truncated string `json:"truncated,omitempty"`

	// Expire is when it is deleted, unless it is pinned, room is needed before, or something of its Run is still being
	// written then.
	Expire time.Time `json:"expire"`

	// Pinned keeps it until it is unpinned or deleted, whatever Expire says.
	Pinned bool `json:"pinned,omitempty"`
}

// Digest is a SHA-256 digest; as text 64 hexadecimal digits.
type Digest [32]byte

// String returns the 64 hexadecimal digits.
func (d Digest) String() string { return fmt.Sprintf("%x", d[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (d Digest) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%x", d[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != 2*len(d) {
		return fmt.Errorf("digest of %d digits, want %d", len(text), 2*len(d))
	}
	for i := range d {
		high, low := hexDigit(text[2*i]), hexDigit(text[2*i+1])
		if high > 15 || low > 15 {
			return fmt.Errorf("digest %q is not hexadecimal", text)
		}
		d[i] = high<<4 | low
	}
	return nil
}

func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	default:
		return 16
	}
}

// newID returns a name that cannot be guessed and that is safe as that of a file everywhere.
func newID() string { return rand.Text() }

// ValidID reports whether the text has the form of an ID.
func ValidID(id string) bool {
	if len(id) != 26 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// ValidName reports whether the text can be the name of an artifact.
func ValidName(name string) bool {
	if name == "" || len(name) > MaxName || strings.ContainsRune("._-", rune(name[0])) {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._-", rune(c)) {
			return false
		}
	}
	return true
}

// ValidText reports whether the text is 1 to most bytes of printable UTF-8.
func ValidText(text string, most int) bool {
	return text != "" && len(text) <= most && utf8.ValidString(text) &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (h *Header) validate() error {
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
	}
	if !ValidText(h.Owner, MaxOwner) {
		fault("Owner", "%.64q is not 1 to %d bytes of printable text", h.Owner, MaxOwner)
	}
	if !ValidText(h.Task, MaxTask) {
		fault("Task", "%.64q is not 1 to %d bytes of printable text", h.Task, MaxTask)
	}
	if h.Run != "" && !ValidText(h.Run, maxRun) {
		fault("Run", "%.64q is not up to %d bytes of printable text", h.Run, maxRun)
	}
	if !ValidName(h.Name) {
		fault("Name", "%.64q is not 1 to %d of a-z A-Z 0-9 . _ -, beginning with a letter or a digit", h.Name, MaxName)
	}
	if _, ok := Lookup(h.Recorder); !ok {
		fault("Recorder", "%.64q is not one of %s", h.Recorder, strings.Join(Names(), ", "))
	}
	if h.Begin.IsZero() {
		fault("Begin", "is not given")
	}
	if len(h.With) > maxWith {
		fault("With", "%d names are more than %d", len(h.With), maxWith)
	}
	return errors.Join(errs...)
}

// overlaps reports whether both, which are of one task, were recorded at the same time. One that is not sealed
// lasts.
func (a *Artifact) overlaps(b *Artifact) bool {
	return a.ID != b.ID &&
		(a.End.IsZero() || !b.Begin.After(a.End)) && (b.End.IsZero() || !a.Begin.After(b.End))
}

// replaces reports whether a, which is newer and of the same task, stands for b too.
func (a *Artifact) replaces(b *Artifact) bool {
	return a.ID != b.ID && a.Run != "" && a.Run == b.Run && a.Name == b.Name && a.Part == b.Part
}

// together adds a name to those that a was recorded with.
func (a *Artifact) together(name string) {
	if i, found := slices.BinarySearch(a.With, name); !found && name != a.Name && len(a.With) < maxWith {
		a.With = slices.Insert(slices.Clone(a.With), i, name)
	}
}

// FileName returns how a file of the artifact is called, such as memory.datum, or memory.1.datum for part 1.
func (a *Artifact) FileName() string {
	name := a.Name
	if r, ok := Lookup(a.Recorder); ok && r.File != "" {
		name = r.File
	}
	if a.Part == 0 {
		return name
	}
	end := path.Ext(name)
	return fmt.Sprintf("%s.%d%s", strings.TrimSuffix(name, end), a.Part, end)
}
