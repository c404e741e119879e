package wire

import (
	"context"
	"fmt"
	"math"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Defaults of FetchOptions.
const (
	DefaultFetchBytesMax        = 1 << 20
	DefaultFetchWaitMax         = 500 * time.Millisecond
	DefaultDecompressedBytesMax = 64 << 20
)

// FetchOptions configures a Fetcher.
type FetchOptions struct {
	// TopicID is the topic that is read (KIP-516): one that was deleted and made
	// again under the same name is another, and Fetch fails with code 100. Zero:
	// whichever has the name at the first Fetch; after code 100, at the next.
	TopicID [16]byte
	// BytesMax bounds the record batches of one answer, as they are in the log.
	// A single batch that is larger still arrives whole.
	BytesMax int32
	// BytesMin is how much the broker waits for, at most WaitMax; default 1.
	BytesMin int32
	// WaitMax is how long the broker waits for BytesMin.
	WaitMax time.Duration
	// Committed hides records of aborted transactions and of open ones
	// (read_committed).
	Committed bool
	// DecompressedBytesMax bounds what one record batch may decompress to.
	DecompressedBytesMax int
}

func (o FetchOptions) withDefaults() FetchOptions {
	if o.BytesMax <= 0 {
		o.BytesMax = DefaultFetchBytesMax
	}
	if o.BytesMin <= 0 {
		o.BytesMin = 1
	}
	if o.WaitMax <= 0 {
		o.WaitMax = DefaultFetchWaitMax
	}
	if o.DecompressedBytesMax <= 0 {
		o.DecompressedBytesMax = DefaultDecompressedBytesMax
	}
	return o
}

// Fetcher reads one partition. It owns its buffers: one goroutine at a time.
type Fetcher struct {
	// The partition's marks in the last answer, -1 before the first and where
	// the broker did not know: HighWatermark is the end of what is replicated,
	// LastStable the end of what a read_committed reader sees, LogStart the
	// first offset kept.
	HighWatermark, LastStable, LogStart int64

	client    *Client
	topic     string
	id        [16]byte // Zero: not known yet.
	partition int32
	options   FetchOptions
	request   []byte // Reused; nil after an error.
	answer    []byte // Reused; nil after an error.
	reader    recordReader
}

// NewFetcher returns a reader of a partition. It holds no connection.
func (c *Client) NewFetcher(topic string, partition int32, o FetchOptions) *Fetcher {
	o = o.withDefaults()
	return &Fetcher{
		HighWatermark: -1, LastStable: -1, LogStart: -1,
		client: c, topic: topic, id: o.TopicID, partition: partition, options: o,
		reader: recordReader{committed: o.Committed, expand: decompressor{limit: o.DecompressedBytesMax}},
	}
}

// Fetch asks for records from offset on, waiting at most WaitMax for some, and
// calls fn for each visible one in the order of offsets. next is the offset to
// fetch from then: past what is invisible, so that it may move though fn was
// not called. An error of fn ends the call and is returned as it is, with next
// the offset of the record that fn refused.
//
// Other errors are a *PartitionError, next being the first offset not handed
// over. Fetch does not try again by itself.
func (f *Fetcher) Fetch(ctx context.Context, offset int64, fn func(*Record) error) (next int64, err error) {
	return f.fetchBy(ctx, offset, f.fetch, fn)
}

// fetchBy is Fetch by whatever gets the record batches of one answer.
func (f *Fetcher) fetchBy(ctx context.Context, offset int64,
	get func(ctx context.Context, broker int32, offset int64) ([]byte, error), fn func(*Record) error) (next int64, err error) {
	var records []byte
	if err := f.identify(ctx); err != nil {
		return offset, f.wrap(offset, err)
	}
	err = f.client.askLeader(ctx, f.topic, f.partition, func(ctx context.Context, broker int32) error {
		records, err = get(ctx, broker, offset)
		return err
	})
	if err != nil {
		if AnotherTopic(err) {
			f.id = f.options.TopicID
		}
		return offset, f.wrap(offset, err)
	}
	next, err = f.reader.read(records, offset, fn)
	if err != nil && !f.reader.refused {
		err = f.wrap(next, err)
	}
	return next, err
}

// identify finds the topic's id unless it is known.
func (f *Fetcher) identify(ctx context.Context) error {
	if f.id != [16]byte{} {
		return nil
	}
	topics, err := f.client.Topics(ctx, f.topic)
	if err != nil {
		return err
	}
	f.id = topics[0].ID
	return topics[0].Err
}

func (f *Fetcher) wrap(offset int64, err error) error {
	return partitionError("fetch", f.topic, f.partition, offset, err)
}

// fetch returns the record batches of one answer, which alias f.answer.
func (f *Fetcher) fetch(ctx context.Context, broker int32, offset int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.options.WaitMax+f.client.options.RequestTimeout)
	defer cancel()
	x := f.encode(offset)
	x.broker, x.into = broker, f.answer
	f.request, f.answer = nil, nil // Abandoned if the round trip fails.
	x.finish()
	a, err := f.client.roundTripWithin(ctx, x)
	if err != nil {
		return nil, err
	}
	f.request, f.answer = x.frame, a.body
	return f.decode(a.body)
}

// fetchVersion is the first that names topics by their ids: Kafka 3.1. By its
// name a topic that was deleted, made again and filled between two fetches
// cannot be told from the former one.
const fetchVersion = 13

func (f *Fetcher) encode(offset int64) *rawExchange {
	return f.client.fetchRequest(f.request, f.options, []fetchAsk{{id: f.id, partition: f.partition, offset: offset}})
}

// fetchAsk asks for records of one partition.
type fetchAsk struct {
	id        [16]byte // Of the topic.
	partition int32
	offset    int64
}

// fetchRequest encodes a Fetch of the asks, which have those of one topic beside
// each other. BytesMax counts for each.
func (c *Client) fetchRequest(buf []byte, o FetchOptions, asks []fetchAsk) *rawExchange {
	x := c.request(buf, protocol.Fetch, fetchVersion, true)
	b := appendInt32(x.frame, -1) // No replica.
	b = appendInt32(b, int32(o.WaitMax.Milliseconds()))
	b = appendInt32(b, o.BytesMin)
	// The limits are those of the partitions. kfake forgets the aborted
	// transactions where it cuts at the limit of the request.
	b = appendInt32(b, math.MaxInt32)
	if o.Committed {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = appendInt32(b, 0)  // No session.
	b = appendInt32(b, -1) // Nor the wish for one.
	topics := 0
	for i := range asks {
		if i == 0 || asks[i].id != asks[i-1].id {
			topics++
		}
	}
	b = appendCompactCount(b, topics)
	for len(asks) > 0 {
		n := 1
		for n < len(asks) && asks[n].id == asks[0].id {
			n++
		}
		b = append(b, asks[0].id[:]...)
		b = appendCompactCount(b, n)
		for _, a := range asks[:n] {
			b = appendInt32(b, a.partition)
			b = appendInt32(b, -1) // Leader epoch unknown.
			b = appendInt64(b, a.offset)
			b = appendInt32(b, -1) // Last epoch fetched, and
			b = appendInt64(b, -1) // log start: for followers.
			b = appendInt32(b, o.BytesMax)
			b = append(b, 0) // No tagged fields.
		}
		b = append(b, 0) // Nor of the topic.
		asks = asks[n:]
	}
	b = appendCompactCount(b, 0)   // Forgotten topics of a session.
	b = appendCompactString(b, "") // Rack.
	x.frame = append(b, 0)         // No tagged fields.
	return x
}

// partitionAnswer is what a Fetch answer says of one partition.
type partitionAnswer struct {
	code                   int16
	high, stable, logStart int64
	aborted                []abortedTransaction
	records                []byte // Record batches; they alias the answer.
}

// decodeFetch reads a Fetch answer of version 13. For each partition it asks find
// where what it says of it goes; nil: it was not asked for.
func decodeFetch(body []byte, find func(id []byte, partition int32) *partitionAnswer) error {
	d := decoder{rest: body}
	d.tags()
	d.int32() // Throttle time.
	if code := d.int16(); code != 0 && !d.bad {
		return kafka.Error(code)
	}
	d.int32() // Session.
	for topics := d.compactCount(18); topics > 0 && !d.bad; topics-- {
		id := d.take(16)
		for n := d.compactCount(34); n > 0 && !d.bad; n-- {
			partition := d.int32()
			if d.bad {
				break
			}
			a := find(id, partition)
			if a == nil {
				return fmt.Errorf("%w: fetch answer is about partition %d of topic id %x", ErrMalformed, partition, id)
			}
			a.code = d.int16()
			a.high, a.stable, a.logStart = d.int64(), d.int64(), d.int64()
			a.aborted = a.aborted[:0]
			for n := d.compactCount(17); n > 0; n-- {
				a.aborted = append(a.aborted, abortedTransaction{d.int64(), d.int64()})
				d.tags()
			}
			d.int32() // Preferred read replica.
			a.records = d.compactString()
			d.tags()
		}
		d.tags()
	}
	d.tags()
	return d.err("fetch")
}

// decode reads a Fetch answer about the one partition, and returns its record
// batches.
func (f *Fetcher) decode(body []byte) ([]byte, error) {
	found := 0
	a := partitionAnswer{aborted: f.reader.aborted}
	err := decodeFetch(body, func(id []byte, partition int32) *partitionAnswer {
		if found++; found > 1 || string(id) != string(f.id[:]) || partition != f.partition {
			return nil
		}
		return &a
	})
	if err != nil {
		return nil, err
	}
	if found == 0 {
		return nil, fmt.Errorf("%w: fetch answer is about no partition", ErrMalformed)
	}
	return f.take(&a)
}

// take sets the marks and the aborted transactions, and returns the record batches.
func (f *Fetcher) take(a *partitionAnswer) ([]byte, error) {
	f.HighWatermark, f.LastStable, f.LogStart = a.high, a.stable, a.logStart
	f.reader.aborted = a.aborted
	if a.code != 0 {
		return nil, kafka.Error(a.code)
	}
	return a.records, nil
}
