package wire

import (
	"context"
	"fmt"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// transactionProtocol is how a producer tells the brokers of a transaction. The
// two have the same bytes but for the numbers of versions and what EndTxn
// answers.
//
// Init chooses. It leaves no transaction open and starts a new epoch, so none is
// ever told in both, and what is late of the one cannot count in the other. When
// the cluster changes under a running producer:
//
//   - switched on: it goes on in the first protocol, which every broker serves
//     for ever, until its next Init.
//   - set back to level 1: brokers go by the version of each request, so it goes
//     on in the second protocol until its next Init.
//   - set back to level 0: the coordinator refuses the next request (35,
//     ErrProtocolOff), since it cannot log there what it has to. Nothing of the
//     transaction becomes visible. Kafka 4.4 then keeps the transactional id busy
//     (51 to Init) until its coordinator moves or restarts, and at level 0 it may
//     refuse it even then (35 to Init), as it does to any client: set the level to
//     1, and all is well after the restart.
//   - brokers of a release before it, after a roll back: they close the connection,
//     so the commit fails when its time is up (TransactionTimeout), and Init mends
//     it.
type transactionProtocol struct {
	produce, txnOffsetCommit, endTxn int16 // Versions of these requests.
	// implicit: what a Produce or a TxnOffsetCommit writes to joins the
	// transaction with it, and EndTxn answers with the identity of the next
	// transaction.
	implicit bool
}

var (
	// firstProtocol is what every broker has. A request of its own says what
	// joins the transaction, and all transactions of a producer have one epoch.
	firstProtocol = transactionProtocol{produce: produceVersion, txnOffsetCommit: 3, endTxn: 3}
	// secondProtocol (KIP-890, Kafka 4.0) takes three round trips in place of
	// five (four to several leaders, see severalLeaders), and each transaction has
	// an epoch of its own, so that a late request counts in no other one.
	secondProtocol = transactionProtocol{produce: 12, txnOffsetCommit: 5, endTxn: 5, implicit: true}
)

// transactionFeature is the cluster's feature that allows secondProtocol from
// level 2 on.
const transactionFeature = "transaction.version"

// transactionProtocol asks the coordinator of a transactional id which protocol
// its cluster speaks.
func (c *Client) transactionProtocol(ctx context.Context, id string) (transactionProtocol, error) {
	if id == "" {
		return firstProtocol, errNoTransactionalID
	}
	speaks := firstProtocol
	err := c.coordinated(ctx, transactionKey(id), func(ctx context.Context, broker int32) error {
		body, err := c.askRaw(ctx, broker, c.apiVersionsRequest())
		if err != nil {
			return err
		}
		a, err := decodeAPIVersions(body)
		if err == nil && a.allows(secondProtocol) {
			speaks = secondProtocol
		}
		return err
	})
	if err != nil {
		return firstProtocol, fmt.Errorf("ask the coordinator of transactional id %q for its versions: %w", id, err)
	}
	return speaks, nil
}

// apiVersionsVersion is the first with the cluster's features (KIP-584), Kafka
// 2.4. kafka-go asks with an older one.
const apiVersionsVersion = 3

// apiVersionsRequest asks a broker what it and its cluster can do.
func (c *Client) apiVersionsRequest() *rawExchange {
	x := c.request(nil, protocol.ApiVersions, apiVersionsVersion, true)
	b := appendCompactString(x.frame, DefaultClientID) // The name of the software.
	b = appendCompactString(b, "unknown")              // Its version, in Kafka's word.
	x.frame = append(b, 0)
	return x
}

// apiVersions is what the transaction protocol depends on: the versions that a
// broker takes, and the level of the cluster's feature.
type apiVersions struct {
	requests           map[protocol.ApiKey]versionRange
	transactionVersion int16
}

type versionRange struct{ min, max int16 }

func (r versionRange) has(v int16) bool { return r.min <= v && v <= r.max }

// allows says whether the cluster has the second protocol switched on and the
// broker takes its requests. A broker that answers otherwise than Kafka (a proxy
// between, say) may say only one of the two.
func (a apiVersions) allows(p transactionProtocol) bool {
	return a.transactionVersion >= 2 &&
		a.requests[protocol.Produce].has(p.produce) &&
		a.requests[protocol.TxnOffsetCommit].has(p.txnOffsetCommit) &&
		a.requests[protocol.EndTxn].has(p.endTxn)
}

// finalizedFeaturesTag marks the levels that the cluster has agreed on in an
// ApiVersions answer.
const finalizedFeaturesTag = 2

// decodeAPIVersions reads an ApiVersions answer of version 3. Alone of all
// flexible answers its header has no tags, so that a broker can answer a version
// that it does not know, in the form of version 0: such a broker has nothing
// that is asked for here.
func decodeAPIVersions(body []byte) (apiVersions, error) {
	a := apiVersions{requests: make(map[protocol.ApiKey]versionRange)}
	d := decoder{rest: body}
	code := kafka.Error(d.int16())
	if code == kafka.UnsupportedVersion {
		return a, nil
	}
	if code != 0 {
		return a, code
	}
	for n := d.compactCount(7); n > 0 && !d.bad; n-- {
		key := protocol.ApiKey(d.int16())
		r := versionRange{min: d.int16()}
		r.max = d.int16()
		d.tags()
		a.requests[key] = r
	}
	d.int32() // Throttle time.
	d.eachTag(func(tag uint64, field *decoder) {
		if tag != finalizedFeaturesTag {
			return
		}
		for n := field.compactCount(6); n > 0 && !field.bad; n-- {
			name := string(field.compactString())
			level := field.int16()
			field.int16() // The lowest level in use.
			field.tags()
			if name == transactionFeature {
				a.transactionVersion = level
			}
		}
	})
	return a, d.err("API versions")
}
