package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
)

// coordinatorKey names what a coordinator coordinates.
type coordinatorKey struct {
	kind int8 // As FindCoordinator has it.
	name string
}

func groupKey(group string) coordinatorKey    { return coordinatorKey{0, group} }
func transactionKey(id string) coordinatorKey { return coordinatorKey{1, id} }

func (k coordinatorKey) String() string {
	if k.kind == 0 {
		return fmt.Sprintf("group %q", k.name)
	}
	return fmt.Sprintf("transactional id %q", k.name)
}

// deny names what a refusal is about.
func (k coordinatorKey) deny(err error) error {
	if k.kind == 0 {
		return Deny(err, k.name, "")
	}
	return Deny(err, "", k.name)
}

// coordinatorCache pins coordinators: asking before every request, as kafka-go
// does, makes 9 round trips of a transaction's 5, or 5 of its 3.
type coordinatorCache struct {
	mu      sync.Mutex
	brokers map[coordinatorKey]int32
}

func (c *coordinatorCache) get(k coordinatorKey) (int32, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.brokers[k]
	return id, ok
}

func (c *coordinatorCache) set(k coordinatorKey, broker int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.brokers == nil {
		c.brokers = make(map[coordinatorKey]int32)
	}
	c.brokers[k] = broker
}

func (c *coordinatorCache) forget(k coordinatorKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.brokers, k)
}

func (c *Client) coordinator(ctx context.Context, k coordinatorKey) (int32, error) {
	if id, ok := c.coordinators.get(k); ok {
		return id, nil
	}
	m, err := c.ask(ctx, anyBroker, &findcoordinator.Request{Key: k.name, KeyType: k.kind})
	if err != nil {
		return -1, fmt.Errorf("find coordinator of %v: %w", k, err)
	}
	r := m.(*findcoordinator.Response)
	if r.ErrorCode != 0 {
		return -1, fmt.Errorf("find coordinator of %v: %w", k, k.deny(kafka.Error(r.ErrorCode)))
	}
	c.coordinators.set(k, r.NodeID)
	return r.NodeID, nil
}

// coordinated does one request with a coordinator, looking it up if needed,
// and repeats it while the error is one that time mends. So it must be safe to
// repeat. A coordinator that answered 15 or 16, or could not be reached, is
// looked up again.
func (c *Client) coordinated(ctx context.Context, k coordinatorKey, do func(ctx context.Context, broker int32) error) error {
	return retry(ctx, func() error {
		broker, err := c.coordinator(ctx, k)
		if err != nil {
			return err
		}
		if err = do(ctx, broker); movedCoordinator(err) {
			c.coordinators.forget(k)
		}
		return k.deny(err)
	})
}

// unsent says that an error is of a request of which not a byte was sent: there
// was no connection, nor a broker to connect to.
func unsent(err error) bool {
	return errors.As(err, new(*StageError)) || errors.Is(err, errNoBroker)
}

// askCoordinator is coordinated for a message of kafka-go's; check finds the
// error in the answer.
func (c *Client) askCoordinator(ctx context.Context, k coordinatorKey, m protocol.Message, check func(protocol.Message) error) error {
	return c.coordinated(ctx, k, func(ctx context.Context, broker int32) error {
		r, err := c.ask(ctx, broker, m)
		if err != nil {
			return err
		}
		return check(r)
	})
}
