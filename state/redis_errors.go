package state

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// AccessError is a server that refuses the login or a command. Time does not
// mend it.
type AccessError struct {
	Addr string // the server, host:port
	Err  error  // what it said
}

// Error names the server and the remedy.
func (e *AccessError) Error() string {
	remedy := "set redis.username and redis.password to a login of this server"
	if isPermission(e.Err) {
		remedy = "allow the user to run EVALSHA, EVAL, SCRIPT, GET, SET, MGET, MSET, TIME and INFO on Lapwing's keys (ACL SETUSER)"
	}
	return fmt.Sprintf("redis %s: access refused: %v; %s", e.Addr, e.Err, remedy)
}

// Unwrap returns what the server said.
func (e *AccessError) Unwrap() error { return e.Err }

// redisError adds the server's address to an error, nil to none.
func redisError(addr string, err error) error {
	var access *AccessError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &access), errors.Is(err, ErrEviction), errors.Is(err, ErrVersion):
		return err // it names the address
	case redis.IsAuthError(err), isPermission(err):
		return &AccessError{Addr: addr, Err: err}
	}
	return fmt.Errorf("redis %s: %w", addr, err)
}

// isPermission reports whether the user may not run a command. Of one inside a script Redis says so only in words
// (script.c, since 7.0).
func isPermission(err error) bool {
	return redis.IsPermissionError(err) || redis.HasErrorPrefix(err, "The user executing the script can't")
}

// Retriable reports whether time can mend an error of a store: the network, a
// server that starts, fails over or has no memory left. It is false for nil, for
// this package's own errors, for a login or permission that is refused, for a
// certificate that is not trusted, for a canceled context, and for a command that
// the server does not take.
func Retriable(err error) bool {
	if err == nil {
		return false
	}
	for _, fatal := range []error{ErrFenced, ErrCorrupt, ErrEviction, ErrVersion, ErrPending, context.Canceled, redis.ErrClosed} {
		if errors.Is(err, fatal) {
			return false
		}
	}
	var access *AccessError
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &access) || errors.As(err, &certificate) {
		return false
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		return slices.ContainsFunc(passingReplies, func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) })
	}
	var network net.Error
	return errors.As(err, &network) || isConnectionError(err)
}

// passingReplies are the error replies of a server that takes the same command
// later: it loads its data, fails over, runs a long script, has no memory, disk or
// connection left, or has lost its scripts.
var passingReplies = []string{
	"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY ", "OOM", "MISCONF",
	"UNKILLABLE", "NOSCRIPT", "UNBLOCKED", "max number of clients reached",
}

// redisVersionMin is the oldest version that is tested.
var redisVersionMin = [2]int{6, 2}

// checkInfo looks at the reply of INFO. A server that names no version at all is
// one for tests (miniredis), which evicts nothing.
func checkInfo(addr, info string) error {
	version, ok := infoField(info, "redis_version")
	if !ok {
		return nil
	}
	if !versionAtLeast(version, redisVersionMin) {
		return fmt.Errorf("redis %s: %w: it is %s, at least %d.%d is needed", addr, ErrVersion, version, redisVersionMin[0], redisVersionMin[1])
	}
	if policy, _ := infoField(info, "maxmemory_policy"); policy != "noeviction" {
		return fmt.Errorf("redis %s: %w: maxmemory_policy is %q, so Redis would drop states when its memory is full; run: CONFIG SET maxmemory-policy noeviction",
			addr, ErrEviction, policy)
	}
	return nil
}

// infoField returns a field of the reply of INFO, lines of name:value.
func infoField(info, name string) (string, bool) {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimRight(value, "\r\n"), true
		}
	}
	return "", false
}

// versionAtLeast compares the first two numbers of a version.
func versionAtLeast(version string, least [2]int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, errMajor := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(parts[1])
	if errMajor != nil || errMinor != nil {
		return false
	}
	return major > least[0] || major == least[0] && minor >= least[1]
}

// isConnectionError reports whether a connection ended or none was free.
func isConnectionError(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) || errors.Is(err, context.DeadlineExceeded)
}
