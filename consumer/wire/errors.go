package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"

	kafka "github.com/segmentio/kafka-go"
)

var (
	// ErrMalformed is the error of bytes that do not have Kafka's form.
	ErrMalformed = errors.New("malformed")
	// ErrChecksum is the error of a record batch whose CRC32C does not fit.
	ErrChecksum = errors.New("checksum of the record batch does not fit")
	// ErrTooLarge is the error of a record batch that decompresses to more than
	// FetchOptions.DecompressedBytesMax.
	ErrTooLarge = errors.New("record batch is too large when decompressed")
	// ErrOldFormat is the error of a record batch in the message format before
	// Kafka 0.11 (magic 0 or 1). Its records have to be written anew by a client
	// of today.
	ErrOldFormat = errors.New("record batch has the message format before Kafka 0.11")
	// ErrBatchTooLarge is the error of writing a batch that is larger than
	// ProducerOptions.BatchBytesMax or than the topic takes.
	ErrBatchTooLarge = errors.New("record batch is larger than the topic takes")
	// ErrOffsetsLate is the error of CommitOffsets when the request or its answer
	// was lost: it may be carried out at any later time.
	ErrOffsetsLate = errors.New("the offsets may still be committed later")
	// ErrProtocolOff is the error of a commit when the cluster has switched off the
	// transaction protocol since Init.
	ErrProtocolOff = errors.New("the cluster has switched off the transaction protocol since the producer's Init")
	// ErrUnavailable is wrapped by the error of a sasl.Mechanism that time may mend,
	// such as a token server that is overloaded.
	ErrUnavailable = errors.New("not available for now")
	// ErrState is the error of a Producer method that is not legal in its state.
	ErrState = errors.New("not legal in this state of the producer")
)

// PartitionError says where an error happened. It unwraps to the cause, so
// that errors.As finds the broker's kafka.Error.
type PartitionError struct {
	Op        string
	Topic     string
	Partition int32
	Offset    int64 // -1 where no offset is concerned.
	Err       error
}

func (e *PartitionError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s %s/%d: %v", e.Op, e.Topic, e.Partition, e.Err)
	}
	return fmt.Sprintf("%s %s/%d at offset %d: %v", e.Op, e.Topic, e.Partition, e.Offset, e.Err)
}

func (e *PartitionError) Unwrap() error { return e.Err }

func partitionError(op, topic string, partition int32, offset int64, err error) error {
	return &PartitionError{Op: op, Topic: topic, Partition: partition, Offset: offset, Err: DenyTopic(err, operationFor(op), topic)}
}

// codeError is nil for code 0.
func codeError(op, topic string, partition int32, offset int64, code int16) error {
	if code == 0 {
		return nil
	}
	return partitionError(op, topic, partition, offset, kafka.Error(code))
}

// Class is what an error means to whoever got it.
type Class int

const (
	// Retry: time may mend it. The same owner backs off and tries again.
	Retry Class = iota
	// Rejoin: ownership is lost. The session ends and the group is joined anew.
	Rejoin
	// DeadLetter: the broker refuses this record for what it is.
	DeadLetter
	// TooLarge: the batch must be split and sent again (ErrBatchTooLarge), after
	// Init in a transaction.
	TooLarge
	// OutOfRange: the offset is not in the log. The answer's own marks are
	// useless then; EarliestOffset tells lost data (below it) from a truncated
	// or recreated topic.
	OutOfRange
	// Fatal: configuration, authorization or damaged data. Time mends nothing.
	Fatal
)

func (c Class) String() string {
	switch c {
	case Retry:
		return "retry"
	case Rejoin:
		return "rejoin"
	case DeadLetter:
		return "dead-letter"
	case TooLarge:
		return "too-large"
	case OutOfRange:
		return "out-of-range"
	case Fatal:
		return "fatal"
	}
	return fmt.Sprintf("Class(%d)", int(c))
}

// Classify says what an error of this package, of kafka-go or of the network
// means. It is the only place that compares error codes. An error of unknown
// origin is Fatal, an unknown code of a newer broker is Retry; of a joined error
// the first code counts.
func Classify(err error) Class {
	switch {
	case errors.Is(err, ErrBatchTooLarge):
		return TooLarge
	case errors.Is(err, ErrOffsetsLate):
		return Rejoin // Only another generation makes the coordinator refuse them.
	case errors.Is(err, ErrUnavailable):
		return Retry
	case errors.Is(err, ErrProtocolOff):
		return Retry // Init finds the protocol that is on.
	case errors.Is(err, ErrChecksum):
		return Retry // Bytes damaged on the way are whole when read again.
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrTooLarge), errors.Is(err, ErrOldFormat), errors.Is(err, ErrState):
		return Fatal
	}
	if code, ok := errorCode(err); ok {
		return classes[code] // Retry if it is not there.
	}
	if isCertificate(err) {
		return Fatal
	}
	if isNetwork(err) {
		return Retry
	}
	return Fatal
}

// classes has every code that Kafka 3.1 to 4.x can send to Lapwing and that
// time does not mend.
//
// Everything else is the cluster being busy with itself, and passes: -1 unknown,
// 2 damaged on the way, 3 and 5 a new topic, 6, 74, 75 and 78 a moved leader, 7,
// 8, 9, 13, 14, 15, 16 and 41 a moved or starting coordinator or controller, 19
// and 20 replicas behind, 46 a duplicate, 51 and 88 the transaction before
// completing, 55 something else in the same request failed, 56 a broken disk
// (another broker takes over), 60 and 85 reassignment, 70 and 71 sessions
// (unused), 89 quotas, 100 and 103 a topic deleted and made again. So is a code
// of a broker that is newer than this.
var classes = map[kafka.Error]Class{
	kafka.OffsetOutOfRange: OutOfRange, // 1: retention, truncation, or a recreated topic.

	kafka.MessageSizeTooLarge: TooLarge, // 10: larger than max.message.bytes.
	kafka.RecordListTooLarge:  TooLarge, // 18: larger than a segment.

	kafka.InvalidTimestamp: DeadLetter, // 32: outside of message.timestamp.*.max.ms.
	kafka.InvalidRecord:    DeadLetter, // 87: such as no key in a compacted topic.

	kafka.IllegalGeneration:            Rejoin, // 22: the group has gone on without us.
	kafka.UnknownMemberId:              Rejoin, // 25: the coordinator has dropped us.
	kafka.RebalanceInProgress:          Rejoin, // 27: the generation is ending.
	kafka.OutOfOrderSequenceNumber:     Rejoin, // 45: the broker has forgotten or never got a batch.
	kafka.InvalidProducerEpoch:         Rejoin, // 47: another producer of this id started.
	kafka.InvalidTransactionState:      Rejoin, // 48: the transaction is not the one we think.
	kafka.InvalidProducerIDMapping:     Rejoin, // 49: the id belongs to another producer by now.
	kafka.TransactionCoordinatorFenced: Rejoin, // 52: see 90.
	kafka.UnknownProducerId:            Rejoin, // 59: see 45.
	kafka.MemberIDRequired:             Rejoin, // 79: join again with the id in the answer.
	kafka.FencedInstanceID:             Rejoin, // 82: another member took our place.
	kafka.ProducerFenced:               Rejoin, // 90: another producer of this id started.
	110:                                Rejoin, // FENCED_MEMBER_EPOCH (KIP-848).
	113:                                Rejoin, // STALE_MEMBER_EPOCH (KIP-848).
	120:                                Rejoin, // TRANSACTION_ABORTABLE (KIP-890).

	kafka.OffsetMetadataTooLarge:             Fatal, // 12: offset.metadata.max.bytes.
	kafka.InvalidTopic:                       Fatal, // 17: a name that no topic can have.
	kafka.InvalidRequiredAcks:                Fatal, // 21
	kafka.InconsistentGroupProtocol:          Fatal, // 23: others in the group balance in another way.
	kafka.InvalidGroupId:                     Fatal, // 24
	kafka.InvalidSessionTimeout:              Fatal, // 26: outside of group.min/max.session.timeout.ms.
	kafka.InvalidCommitOffsetSize:            Fatal, // 28
	kafka.TopicAuthorizationFailed:           Fatal, // 29
	kafka.GroupAuthorizationFailed:           Fatal, // 30
	kafka.ClusterAuthorizationFailed:         Fatal, // 31
	kafka.UnsupportedSASLMechanism:           Fatal, // 33
	kafka.IllegalSASLState:                   Fatal, // 34
	kafka.UnsupportedVersion:                 Fatal, // 35
	kafka.TopicAlreadyExists:                 Fatal, // 36: only CreateTopics, which handles it.
	kafka.InvalidPartitionNumber:             Fatal, // 37
	kafka.InvalidReplicationFactor:           Fatal, // 38: more replicas than brokers.
	kafka.InvalidReplicaAssignment:           Fatal, // 39
	kafka.InvalidConfiguration:               Fatal, // 40
	kafka.InvalidRequest:                     Fatal, // 42: we or the broker misread the protocol.
	kafka.UnsupportedForMessageFormat:        Fatal, // 43
	kafka.PolicyViolation:                    Fatal, // 44
	kafka.InvalidTransactionTimeout:          Fatal, // 50: above transaction.max.timeout.ms.
	kafka.TransactionalIDAuthorizationFailed: Fatal, // 53
	kafka.SecurityDisabled:                   Fatal, // 54
	kafka.SASLAuthenticationFailed:           Fatal, // 58
	kafka.DelegationTokenAuthDisabled:        Fatal, // 61
	kafka.DelegationTokenNotFound:            Fatal, // 62
	kafka.DelegationTokenOwnerMismatch:       Fatal, // 63
	kafka.DelegationTokenRequestNotAllowed:   Fatal, // 64
	kafka.DelegationTokenAuthorizationFailed: Fatal, // 65
	kafka.DelegationTokenExpired:             Fatal, // 66
	kafka.InvalidPrincipalType:               Fatal, // 67
	kafka.TopicDeletionDisabled:              Fatal, // 73
	kafka.UnsupportedCompressionType:         Fatal, // 76: a broker without the codec.
	kafka.GroupMaxSizeReached:                Fatal, // 81
	kafka.UnacceptableCredential:             Fatal, // 93
}

// Hint says what to do about an error that somebody has to mend at the cluster;
// "" for any other.
func Hint(err error) string {
	if denied := (*DeniedError)(nil); errors.As(err, &denied) {
		return denied.Hint()
	}
	code, _ := errorCode(err)
	switch code {
	case kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.TransactionalIDAuthorizationFailed:
		return "give the user that Lapwing logs in as the permission (kafka-acls --add; deploy/README.md, Kafka ACLs)"
	case kafka.InvalidSessionTimeout:
		return "set kafka.session_timeout within the broker's group.min.session.timeout.ms and group.max.session.timeout.ms"
	case kafka.InvalidTransactionTimeout:
		return "set kafka.transaction_timeout below the broker's transaction.max.timeout.ms"
	case kafka.InvalidReplicationFactor:
		return "set kafka.replication to at most the number of brokers"
	}
	return ""
}

// errorCode finds the broker's code in err.
func errorCode(err error) (kafka.Error, bool) {
	var code kafka.Error
	ok := errors.As(err, &code)
	return code, ok
}

func isCode(err error) bool {
	_, ok := errorCode(err)
	return ok
}

// AnotherTopic says that a topic id was refused: the topic was deleted, whether
// or not another has its name by now, or the broker does not know it yet.
func AnotherTopic(err error) bool {
	code, ok := errorCode(err)
	return ok && (code == kafka.UnknownTopicID || code == kafka.InconsistentTopicID)
}

// movedLeader reports whether another broker may lead the partition by now.
func movedLeader(err error) bool {
	if err == nil {
		return false
	}
	code, ok := errorCode(err)
	if !ok {
		return isNetwork(err)
	}
	switch code {
	case kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.NotLeaderForPartition,
		kafka.BrokerNotAvailable, kafka.ReplicaNotAvailable, kafka.KafkaStorageError,
		kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.UnknownTopicID, kafka.InconsistentTopicID:
		return true
	}
	return false
}

// movedCoordinator reports whether another broker may be the coordinator.
func movedCoordinator(err error) bool {
	if err == nil {
		return false
	}
	code, ok := errorCode(err)
	if !ok {
		return isNetwork(err)
	}
	return code == kafka.GroupCoordinatorNotAvailable || code == kafka.NotCoordinatorForGroup || code == kafka.BrokerNotAvailable
}

// isFenced reports whether another producer of the transactional id started.
func isFenced(err error) bool {
	code, ok := errorCode(err)
	return ok && (code == kafka.InvalidProducerEpoch || code == kafka.ProducerFenced || code == kafka.TransactionCoordinatorFenced)
}

// isNetwork reports whether the request or its answer may have been lost.
func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// isCertificate reports whether TLS itself refused: no waiting helps.
func isCertificate(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		record       tls.RecordHeaderError
		alert        tls.AlertError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &record) || errors.As(err, &alert) || refusedCertificate(err)
}

// certificateAlerts are the alerts of RFC 8446 by which a server refuses a
// client's certificate, or that it has none.
var certificateAlerts = map[string]bool{}

func init() {
	for _, n := range []tls.AlertError{42, 43, 44, 45, 46, 48, 49, 116} {
		certificateAlerts[n.Error()] = true
	}
}

// refusedCertificate reports whether a server refused our certificate. Package
// tls keeps the type of an alert over TCP to itself: its text tells.
func refusedCertificate(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && certificateAlerts[op.Err.Error()]
}
