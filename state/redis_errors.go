package state

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// error adds the name of the server to an error, and what to do about it where
// that is known; nil to none.
func (a account) error(name string, err error) error {
	var access *AccessError
	var named *nodeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &access), errors.As(err, &named), errors.Is(err, ErrEviction), errors.Is(err, ErrVersion), errors.Is(err, ErrTopology):
		return err // it names the server
	case errors.Is(err, redis.Nil) || redis.IsAuthError(err) || isPermission(err):
		// Some sentinels may have refused, and others be away, who would not.
		var network net.Error
		if errors.As(err, &network) {
			return &nodeError{name: name, err: fmt.Errorf("%v: %w", err, network)}
		}
	}
	switch {
	case redis.IsAuthError(err), isPermission(err):
		return a.refused(name, err)
	case errors.Is(err, redis.Nil): // of a sentinel: nothing else that is asked for has no answer
		return fmt.Errorf("redis %s: %w: no sentinel knows a master of that name; set redis.sentinel.master to one that SENTINEL MASTERS lists", name, ErrTopology)
	}
	return &nodeError{name: name, err: err}
}

// nodeError is an error of a server that time may mend.
type nodeError struct {
	name string
	err  error
}

// Error names the server, and the remedy where there is one.
func (e *nodeError) Error() string {
	text := "redis " + e.name + ": "
	if stage, _ := diagnose(e.err); stage != "" {
		text += stage + ": "
	}
	text += oneLine(e.err)
	if remedy := e.remedy(); remedy != "" {
		text += "; " + remedy
	}
	return text
}

// remedy is what to do about it, "" if that is not known.
func (e *nodeError) remedy() string {
	if _, remedy := diagnose(e.err); remedy != "" {
		return remedy
	}
	for _, r := range remedies {
		if redis.HasErrorPrefix(e.err, r.prefix) {
			return r.remedy
		}
	}
	return ""
}

// oneLine is the text of an error that may join those of several servers, each of them once.
func oneLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	seen := map[string]bool{}
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
		again := seen[line]
		seen[line] = true
		return again
	}), ", ")
}

// Unwrap returns what happened.
func (e *nodeError) Unwrap() error { return e.err }

// remedies are what to do if an error reply does not go away by itself.
var remedies = []struct{ prefix, remedy string }{
	{"TRYAGAIN", slotIsMoved},
	{"ASK ", slotIsMoved},
	{"CLUSTERDOWN", "redis-cli --cluster check names the slots that no master serves"},
	{"READONLY", "it is a replica; name its master, or use redis.sentinel or redis.cluster, which find it"},
	{"OOM", "raise maxmemory, or delete what is not needed"},
	{"MISCONF", "Redis cannot write its data to disk; its log says why"},
	{"NOREPLICAS", "fewer replicas follow than min-replicas-to-write asks for"},
}

const slotIsMoved = "a slot is being moved between nodes, and its users wait until that has ended; redis-cli --cluster check names a move that was left, redis-cli --cluster fix ends it"

// Retriable reports whether time can mend an error of a store: the network, a
// server that starts, fails over or has no memory left. It is false for nil, for
// this package's own errors, for a login or permission that is refused, for a
// certificate that is not trusted on either side, for a canceled context, and for a command that
// the server does not take.
func Retriable(err error) bool {
	if err == nil {
		return false
	}
	for _, fatal := range []error{ErrFenced, ErrCorrupt, ErrEviction, ErrTopology, ErrVersion, ErrPending, context.Canceled, redis.ErrClosed} {
		if errors.Is(err, fatal) {
			return false
		}
	}
	var access *AccessError
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &access) || errors.As(err, &certificate) || isCertificateAlert(err) {
		return false
	}
	if errors.Is(err, errReplica) || errors.Is(err, errNodeGone) {
		return true
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		return slices.ContainsFunc(passingReplies, func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) })
	}
	var network net.Error
	return errors.As(err, &network) || isConnectionError(err)
}

// passingReplies are the error replies of a server that takes the same command
// later: it loads its data, fails over, moves slots, runs a long script, has no memory, disk or
// connection left, or has lost its scripts.
var passingReplies = []string{
	"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK ", "NOREPLICAS", "BUSY ", "OOM", "MISCONF",
	"UNKILLABLE", "NOSCRIPT", "UNBLOCKED", "max number of clients reached",
}

// isConnectionError reports whether a connection ended or none was free.
func isConnectionError(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) || errors.Is(err, context.DeadlineExceeded)
}

// HasRemedy reports whether the text of an error of a store says what to do about it.
func HasRemedy(err error) bool {
	var access *AccessError
	var node *nodeError
	switch {
	case errors.As(err, &access), errors.Is(err, ErrTopology), errors.Is(err, ErrVersion), errors.Is(err, ErrEviction):
		return true
	case !errors.As(err, &node):
		return false
	}
	return node.remedy() != ""
}
