package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"google.golang.org/grpc/metadata"
)

// Token is one bearer token. It holds only the digest, so that it can be printed and kept.
type Token struct {
	// Name identifies the holder, as token:NAME: 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or
	// a digit.
	Name string

	// Role is what the holder may do.
	Role Role

	// SHA256 is the digest of the token's text.
	SHA256 [32]byte
}

// The bounds of a tokens file.
const (
	minTokenLength    = 16
	maxTokenLength    = 256
	maxTokenFileBytes = 1 << 20
)

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (t Token) validate() error {
	var errs []error
	if !tokenName.MatchString(t.Name) {
		errs = append(errs, fmt.Errorf("name %q is not 1 to 64 of A-Z a-z 0-9 . _ - after a letter or digit", clip(t.Name)))
	}
	if !t.Role.valid() {
		errs = append(errs, fmt.Errorf("%v is not a role", t.Role))
	}
	if t.SHA256 == [32]byte{} {
		errs = append(errs, errors.New("the digest is empty"))
	}
	return errors.Join(errs...)
}

// LoadTokens reads a file of tokens, one a line: NAME ROLE TOKEN, separated by spaces or tabs. Empty lines
// and lines that begin with # are skipped. A token is 16 to 256 printable ASCII characters. The file must be
// a regular one of at most 1 MiB that belongs to root or to this user and that nobody else can read or
// write. All faults are reported together with their lines; no error holds a token.
func LoadTokens(path string) ([]Token, error) {
	text, err := readPrivate(path, maxTokenFileBytes)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	tokens, err := parseTokens(string(text))
	if err != nil {
		return nil, fmt.Errorf("tokens: %s:\n%w", path, err)
	}
	return tokens, nil
}

// readPrivate reads the file that holds secrets. It checks the file that it has opened, not the name.
func readPrivate(path string, limit int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return text, nil
}

func parseTokens(text string) ([]Token, error) {
	var (
		tokens []Token
		errs   []error
		names  = map[string]int{}
		sums   = map[[32]byte]int{}
		number int
	)
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fault := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("line %d: %s", number, fmt.Sprintf(format, args...)))
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			fault("%d fields, want NAME ROLE TOKEN", len(fields))
			continue
		}
		// A field that is not what it should be may be the token in the wrong place: it is not printed.
		before := len(errs)
		name, secret := fields[0], fields[2]
		if !tokenName.MatchString(name) {
			fault("the name is not 1 to 64 of A-Z a-z 0-9 . _ - after a letter or digit")
		}
		role, err := ParseRole(fields[1])
		if err != nil {
			fault("the role is not one of %s", strings.Join(roleNames[RoleNone:], ", "))
		}
		if !tokenText(secret) {
			fault("the token is not %d to %d printable ASCII characters", minTokenLength, maxTokenLength)
		}
		sum := sha256.Sum256([]byte(secret))
		if first, ok := names[name]; ok {
			fault("the name stands on line %d too", first)
		}
		if first, ok := sums[sum]; ok {
			fault("the token stands on line %d too", first)
		}
		names[name], sums[sum] = number, number
		if len(errs) == before {
			tokens = append(tokens, Token{Name: name, Role: role, SHA256: sum})
		}
	}
	if len(tokens) > maxTokens {
		errs = append(errs, fmt.Errorf("%d tokens are more than %d", len(tokens), maxTokens))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return tokens, nil
}

func tokenText(s string) bool {
	if len(s) < minTokenLength || len(s) > maxTokenLength {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// token returns the token of the given text. It takes the same time whichever token it is, and whether
// it is one.
func (a *accessTable) token(text string) (Token, bool) {
	sum := sha256.Sum256([]byte(text))
	found := -1
	for i := range a.Tokens {
		if subtle.ConstantTimeCompare(a.Tokens[i].SHA256[:], sum[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Token{}, false
	}
	return a.Tokens[found], true
}

// authorization is the header that carries a token.
const authorization = "authorization"

// identify returns who calls over the connection with these headers. A token that does not hold is an
// error: a caller that wanted to be somebody must not go on as somebody else.
func (a *accessTable) identify(info *authInfo, headers metadata.MD) (id Identity, hint string, err error) {
	values := headers[authorization]
	if info.fixed || len(values) == 0 {
		return info.identity, info.hint, nil
	}
	refuse := func(reason, text string) (Identity, string, error) {
		return info.identity, info.hint, &credentialError{reason: reason, text: text}
	}
	if !info.private {
		return refuse(reasonTokenExposed, "a token came over a connection that is neither encrypted nor from "+
			"this host: use TLS, and take the token for known to others")
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if len(values) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return refuse(reasonTokenInvalid, "the authorization header is not one \"Bearer TOKEN\"")
	}
	token, ok := a.token(strings.TrimSpace(text))
	if !ok {
		return refuse(reasonTokenInvalid, "the token is not one of the server's: check it, or leave it out to "+
			"be known by the connection")
	}
	id = info.identity
	id.Name, id.Role = "token:"+token.Name, token.Role
	return id, "use a token of a greater role", nil
}
