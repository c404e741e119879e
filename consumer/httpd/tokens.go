package httpd

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// Limits of a file of tokens.
const (
	tokenBytesMin = 16   // what can be guessed is no secret
	tokensMax     = 1000 // each is compared at each request
)

var errNoToken = errors.New("no token is in it")

// tokens are the hashes of those that are taken.
type tokens [][sha256.Size]byte

// ReadTokens checks a file of tokens: one a line, at least 16 bytes of visible ASCII without blanks. A line that begins
// with # is a comment. At least one token must be there, and at most 1000. Errors name the file and the line, not the token.
func ReadTokens(name string) error {
	_, err := watchTokens(name)
	return err
}

func watchTokens(name string) (*watched[tokens], error) {
	return watch(func(texts [][]byte) (*tokens, error) { return parseTokens(name, texts[0]) }, name)
}

func parseTokens(name string, text []byte) (*tokens, error) {
	var found tokens
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if bytes.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("%s:%d: a token has a blank, or what is not ASCII", name, number)
		}
		if len(line) < tokenBytesMin {
			return nil, fmt.Errorf("%s:%d: a token has %d bytes, must have at least %d", name, number, len(line), tokenBytesMin)
		}
		found = append(found, sha256.Sum256(line))
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("%s: %w", name, errNoToken)
	case len(found) > tokensMax:
		return nil, fmt.Errorf("%s: %d tokens are in it, at most %d are allowed", name, len(found), tokensMax)
	}
	return &found, nil
}

// take reports whether the values of the header Authorization are one bearer token, and one of these. How long it takes says
// nothing of the tokens: hashes, of one size, are compared with all of them to their ends.
func (t tokens) take(authorization []string) bool {
	if len(authorization) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	sum, equal := sha256.Sum256([]byte(strings.Trim(token, " "))), 0
	for i := range t {
		equal |= subtle.ConstantTimeCompare(sum[:], t[i][:])
	}
	return equal == 1
}
