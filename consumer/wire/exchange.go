package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Where a request goes, beside the ids of brokers.
const (
	anyBroker        int32 = -1 // Whichever bootstrap broker answers.
	controllerBroker int32 = -2 // What kafka-go holds for the controller.
)

// errNoBroker is of a request to a broker that nobody knows.
var errNoBroker = errors.New("not in the cluster's metadata")

// route implements protocol.BrokerMessage: the request goes to a broker that the
// caller knows already.
type route struct{ broker int32 }

// to returns the id of the broker, or one of the constants above.
func (r route) to() int32 { return r.broker }

func (r route) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	id := r.broker
	switch id {
	case anyBroker:
		return protocol.Broker{ID: -1}, nil
	case controllerBroker:
		id = cluster.Controller
	}
	b, ok := cluster.Brokers[id]
	if !ok {
		return b, fmt.Errorf("broker %d is %w: %w", id, errNoBroker, kafka.BrokerNotAvailable)
	}
	return b, nil
}

// answer carries a response back through kafka-go. It is a type of our own
// because Transport gives some of kafka-go's response types a special meaning
// (after CreateTopics it waits for topics that it may never ask for).
type answer struct {
	key     protocol.ApiKey
	version int16
	body    []byte           // Of a rawExchange: all that follows the correlation id.
	message protocol.Message // Of a messageExchange.
}

func (a *answer) ApiKey() protocol.ApiKey { return a.key }

// messageExchange sends a message that kafka-go can encode to a known broker.
type messageExchange struct {
	route
	protocol.Message
	version     int16
	correlation int32
	clientID    string
}

// Required implements protocol.RawExchanger.
func (x *messageExchange) Required(versions map[protocol.ApiKey]int16) bool {
	x.version = versions[x.ApiKey()]
	return true
}

// RawExchange implements protocol.RawExchanger.
func (x *messageExchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	m, err := protocol.RoundTrip(rw, x.version, x.correlation, x.clientID, x.Message)
	if err != nil {
		return nil, err
	}
	return &answer{key: x.ApiKey(), version: x.version, message: m}, nil
}

// ask sends a message of kafka-go's to a broker.
func (c *Client) ask(ctx context.Context, broker int32, m protocol.Message) (protocol.Message, error) {
	a, err := c.roundTrip(ctx, &messageExchange{
		route:       route{broker},
		Message:     m,
		correlation: c.correlation.Add(1),
		clientID:    c.options.ClientID,
	})
	if err != nil {
		return nil, err
	}
	return a.message, nil
}

// rawExchange sends bytes that are encoded already and returns the answer's.
//
// After an error of roundTrip the goroutine of kafka-go that serves the
// connection may still read the request and write into the answer's buffer
// (transport.go, conn.run, goes on after the caller's context has ended). Both
// must then be left to the garbage collector.
type rawExchange struct {
	route
	key         protocol.ApiKey
	version     int16
	correlation int32
	frame       []byte // The whole request with its size, but for its inserts.
	inserts     []insert
	into        []byte // Capacity for the answer, may be nil.
	bytesMax    int
}

// insert is a part of a request that stands somewhere else: it is sent from there,
// before the byte of the frame that has its place, and not copied.
type insert struct {
	at    int
	bytes []byte
}

func (x *rawExchange) ApiKey() protocol.ApiKey { return x.key }

// Required implements protocol.RawExchanger.
func (x *rawExchange) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements protocol.RawExchanger.
func (x *rawExchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if err := x.write(rw); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:]))) - 4
	if size < 0 || size > x.bytesMax {
		return nil, fmt.Errorf("%w: %v answer of %d bytes (at most %d are taken)", ErrMalformed, x.key, size, x.bytesMax)
	}
	if id := int32(binary.BigEndian.Uint32(head[4:])); id != x.correlation {
		return nil, fmt.Errorf("%w: %v answer to request %d, expected %d", ErrMalformed, x.key, id, x.correlation)
	}
	body, err := readBody(rw, x.into, size)
	if err != nil {
		return nil, err
	}
	return &answer{key: x.key, version: x.version, body: body}, nil
}

func (x *rawExchange) write(w io.Writer) error {
	at := 0
	for _, in := range x.inserts {
		if _, err := w.Write(x.frame[at:in.at]); err != nil {
			return err
		}
		if _, err := w.Write(in.bytes); err != nil {
			return err
		}
		at = in.at
	}
	_, err := w.Write(x.frame[at:])
	return err
}

// readBody reads size bytes into buf, growing it only as bytes arrive: a size
// alone must not allocate.
func readBody(r io.Reader, buf []byte, size int) ([]byte, error) {
	const step = 1 << 20
	buf = buf[:0]
	for len(buf) < size {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(size, max(2*cap(buf), step)))
			copy(grown, buf)
			buf = grown
		}
		n := min(size, cap(buf))
		read, err := io.ReadFull(r, buf[len(buf):n])
		buf = buf[:len(buf)+read]
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

// request starts the frame of a raw request in buf: size and header. Flexible
// versions (KIP-482) have tagged fields after the header, always empty here.
func (c *Client) request(buf []byte, key protocol.ApiKey, version int16, flexible bool) *rawExchange {
	x := &rawExchange{
		key:         key,
		version:     version,
		correlation: c.correlation.Add(1),
		bytesMax:    c.options.ResponseBytesMax,
	}
	b := append(buf[:0], 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(x.correlation))
	b = appendString(b, c.options.ClientID)
	if flexible {
		b = append(b, 0)
	}
	x.frame = b
	return x
}

// finish writes the size of the whole request into its frame.
func (x *rawExchange) finish() {
	size := len(x.frame) - 4
	for _, in := range x.inserts {
		size += len(in.bytes)
	}
	binary.BigEndian.PutUint32(x.frame, uint32(size))
}

// askRaw completes the frame of x and sends it to a broker.
func (c *Client) askRaw(ctx context.Context, broker int32, x *rawExchange) ([]byte, error) {
	x.broker = broker
	x.finish()
	a, err := c.roundTrip(ctx, x)
	if err != nil {
		return nil, err
	}
	return a.body, nil
}

// roundTrip bounds one request and its answer by RequestTimeout.
func (c *Client) roundTrip(ctx context.Context, m protocol.Message) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.RequestTimeout)
	defer cancel()
	return c.roundTripWithin(ctx, m)
}

// roundTripWithin is roundTrip for a context that has its deadline already.
func (c *Client) roundTripWithin(ctx context.Context, m protocol.Message) (*answer, error) {
	r, err := c.transport.RoundTrip(ctx, c.addr, m)
	if err != nil {
		if to, ok := m.(interface{ to() int32 }); ok && to.to() >= 0 && !isCode(err) && !errors.As(err, new(*StageError)) {
			err = fmt.Errorf("kafka broker %d: %w", to.to(), err)
		}
		return nil, err
	}
	return r.(*answer), nil
}
