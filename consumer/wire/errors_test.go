package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/segmentio/kafka-go"
)

// TestClassifyEveryCode has every code from -1 to 133, as the protocol's
// documentation lists them, so that a change of one is a decision.
func TestClassifyEveryCode(t *testing.T) {
	want := map[Class][]int{
		OutOfRange: {1},
		TooLarge:   {10, 18},
		DeadLetter: {32, 87},
		Rejoin:     {22, 25, 27, 45, 47, 48, 49, 52, 59, 79, 82, 90, 110, 113, 120},
		Fatal: {12, 17, 21, 23, 24, 26, 28, 29, 30, 31, 33, 34, 35, 36, 37, 38, 39, 40, 42, 43, 44, 50, 53, 54, 58,
			61, 62, 63, 64, 65, 66, 67, 73, 76, 81, 93},
	}
	class := make(map[int]Class)
	for c, codes := range want {
		for _, code := range codes {
			class[code] = c
		}
	}
	for code := -1; code <= 133; code++ {
		if code == 0 {
			continue
		}
		expected := class[code] // Retry if not listed.
		err := partitionError("test", "topic", 3, 7, fmt.Errorf("more: %w", kafka.Error(code)))
		if got := Classify(err); got != expected {
			t.Errorf("code %d is %v, want %v", code, got, expected)
		}
	}
}

func TestClassifyOtherErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Class
	}{
		{io.EOF, Retry},
		{io.ErrUnexpectedEOF, Retry},
		{net.ErrClosed, Retry},
		{context.DeadlineExceeded, Retry},
		{context.Canceled, Retry},
		{os.ErrDeadlineExceeded, Retry},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Retry},
		{&net.DNSError{IsNotFound: true}, Retry},
		{x509.UnknownAuthorityError{}, Fatal},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}}}, Fatal},
		{tls.RecordHeaderError{}, Fatal},
		{&StageError{Stage: StageSASL, Err: kafka.SASLAuthenticationFailed}, Fatal},
		{ErrChecksum, Retry},
		{ErrMalformed, Fatal},
		{ErrTooLarge, Fatal},
		{ErrOldFormat, Fatal},
		{ErrState, Fatal},
		{fmt.Errorf("%w: %w", ErrProtocolOff, kafka.UnsupportedVersion), Retry},
		{kafka.UnsupportedVersion, Fatal},
		{produceError(10), TooLarge},
		{errors.New("of unknown origin"), Fatal},
	} {
		for _, err := range []error{c.err, fmt.Errorf("wrapped: %w", c.err), partitionError("test", "t", 1, -1, c.err)} {
			if got := Classify(err); got != c.want {
				t.Errorf("%v is %v, want %v", err, got, c.want)
			}
		}
	}
}

func TestPartitionErrorSaysWhere(t *testing.T) {
	err := partitionError("fetch", "events", 4, 17, kafka.OffsetOutOfRange)
	var where *PartitionError
	if !errors.As(err, &where) || where.Topic != "events" || where.Partition != 4 || where.Offset != 17 {
		t.Fatalf("%#v", err)
	}
	if !errors.Is(err, kafka.OffsetOutOfRange) {
		t.Fatal("the broker's code is lost")
	}
	if got, want := err.Error()[:31], "fetch events/4 at offset 17: [1"; got != want {
		t.Fatalf("%q, want %q", got, want)
	}
}

func TestNamesOfEnumerations(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Retry.String(), "retry"}, {Rejoin.String(), "rejoin"}, {DeadLetter.String(), "dead-letter"},
		{TooLarge.String(), "too-large"}, {OutOfRange.String(), "out-of-range"}, {Fatal.String(), "fatal"}, {Class(9).String(), "Class(9)"},
		{None.String(), "none"}, {Zstd.String(), "zstd"}, {Compression(7).String(), "Compression(7)"},
		{groupKey("g").String(), `group "g"`}, {transactionKey("t").String(), `transactional id "t"`},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestMovedLeaderAndCoordinator(t *testing.T) {
	for _, c := range []struct {
		err                 error
		leader, coordinator bool
	}{
		{nil, false, false},
		{io.EOF, true, true},
		{kafka.NotLeaderForPartition, true, false},
		{kafka.UnknownTopicOrPartition, true, false},
		{kafka.FencedLeaderEpoch, true, false},
		{kafka.NotCoordinatorForGroup, false, true},
		{kafka.GroupCoordinatorNotAvailable, false, true},
		{kafka.GroupLoadInProgress, false, false},
		{kafka.BrokerNotAvailable, true, true},
		{kafka.OffsetOutOfRange, false, false},
		{ErrMalformed, false, false},
	} {
		if movedLeader(c.err) != c.leader || movedCoordinator(c.err) != c.coordinator {
			t.Errorf("%v: leader moved %v, coordinator moved %v", c.err, movedLeader(c.err), movedCoordinator(c.err))
		}
	}
}

func TestHint(t *testing.T) {
	for code, want := range map[kafka.Error]string{
		kafka.TopicAuthorizationFailed: "kafka-acls", kafka.TransactionalIDAuthorizationFailed: "kafka-acls",
		kafka.InvalidSessionTimeout: "kafka.session_timeout", kafka.InvalidTransactionTimeout: "kafka.transaction_timeout",
		kafka.InvalidReplicationFactor: "kafka.replication",
	} {
		if got := Hint(partitionError("ask", "topic", 1, -1, code)); !strings.Contains(got, want) {
			t.Errorf("%d: got %q, want it to name %s", code, got, want)
		}
	}
	if got := Hint(kafka.NotLeaderForPartition); got != "" {
		t.Errorf("a moved leader: got %q, want none", got)
	}
}
