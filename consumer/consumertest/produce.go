package consumertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ProduceOptions says how generated records go into a topic. Brokers and Topic are required.
type ProduceOptions struct {
	Brokers []string
	Topic   string
	// Further topics share the records with Topic: each goes into one of them all, drawn by the generator's seed.
	Further []string
	Count   int // records; 0: until the context is done
	// PerSecond is the rate of records, kept in steps of about a millisecond; 0: full speed.
	PerSecond int
	// Transactional writes by three transactional producers that take turns, so that their transactions interleave; about
	// a third of the transactions hold records of nobody and are aborted.
	Transactional bool
	// Acked, unless nil, is called for each record that the broker took, in any order and from other goroutines.
	Acked func(partition int32, offset int64, created time.Time)
}

// flushTimeout bounds how long Produce waits at its end for what it has sent.
const flushTimeout = 60 * time.Second

// Produce writes the generator's next records, each to the partition that its key names for a Java client (murmur2), all
// acknowledged (acks=all), and returns how many. The order within a partition is the generator's. A topic that grows
// meanwhile gets records in its new partitions within about growthNoticed, as from any producer. When the context of a
// Produce without Count ends, it writes what it has begun and returns no error.
func Produce(ctx context.Context, o ProduceOptions, g *Generator) (int, error) {
	topics := append([]string{o.Topic}, o.Further...)
	for _, topic := range topics {
		if _, err := partitionCount(ctx, o.Brokers, topic); err != nil {
			return 0, err
		}
	}
	from := &feed{g: g, topics: topics, rng: rand.New(rand.NewPCG(g.o.Seed, g.made))}
	if o.Transactional {
		return produceTransactions(ctx, o, from)
	}
	client, err := producerClient(o.Brokers, following()...)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	return producePlain(ctx, o, from, client)
}

// ProduceInputs writes the given records, all acknowledged, in their order.
func ProduceInputs(ctx context.Context, brokers []string, topic string, inputs ...Input) error {
	partitions, err := partitionCount(ctx, brokers, topic)
	if err != nil {
		return err
	}
	client, err := producerClient(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	place := placer{topic: topic, partitions: partitions, byKey: newKeyPartitioner()}
	records := make([]*kgo.Record, len(inputs))
	for i, in := range inputs {
		records[i] = place.record(in)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("consumertest: produce to %s: %w", topic, err)
	}
	return nil
}

func producerClient(brokers []string, extra ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(200_000), kgo.ProducerLinger(time.Millisecond),
	}, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("consumertest: producer of %v: %w", brokers, err)
	}
	return client, nil
}

// firstError keeps the first error that any goroutine reports, and counts the records that went well.
type firstError struct {
	mu    sync.Mutex
	err   error
	acked int
}

func (f *firstError) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.acked++
	} else if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acked, f.err
}

func producePlain(ctx context.Context, o ProduceOptions, from *feed, client *kgo.Client) (int, error) {
	var outcome firstError
	// A record once begun is written to its end: cut off, nobody could say whether it is in the topic.
	whole := context.WithoutCancel(ctx)
	pace := newPace(o.PerSecond)
	for n := 0; (o.Count == 0 || n < o.Count) && pace.wait(ctx); n++ {
		created := time.Now()
		client.Produce(whole, from.next(), func(r *kgo.Record, err error) {
			outcome.add(err)
			if err == nil && o.Acked != nil {
				o.Acked(r.Partition, r.Offset, created)
			}
		})
	}
	flush, cancel := context.WithTimeout(whole, flushTimeout)
	defer cancel()
	flushErr := client.Flush(flush)
	acked, err := outcome.get()
	if err = errors.Join(err, flushErr); err != nil {
		return acked, fmt.Errorf("consumertest: produce to %s: %w", o.Topic, err)
	}
	if o.Count > 0 && acked < o.Count {
		return acked, fmt.Errorf("consumertest: produce to %s: %d of %d records: %w", o.Topic, acked, o.Count, ctx.Err())
	}
	return acked, nil
}

// pace lets records through at a rate.
type pace struct {
	perSecond int
	start     time.Time
	sent      int
	due       int // how many may have been sent by now
}

func newPace(perSecond int) *pace { return &pace{perSecond: perSecond, start: time.Now()} }

// wait returns true when the next record is due, false when the context is done.
func (p *pace) wait(ctx context.Context) bool {
	for p.perSecond > 0 && p.sent >= p.due && ctx.Err() == nil {
		if p.due = int(time.Since(p.start).Seconds() * float64(p.perSecond)); p.sent >= p.due {
			time.Sleep(time.Millisecond) // a pause of the load, waiting for nothing
		}
	}
	p.sent++
	return ctx.Err() == nil
}

// feed makes records of a generator's inputs for producers that choose partitions as their topics grow (following).
type feed struct {
	g      *Generator
	topics []string
	rng    *rand.Rand // of the topic
}

func (f *feed) next() *kgo.Record {
	in := f.g.Next()
	r := &kgo.Record{Topic: f.topics[0], Key: in.Key, Value: in.Value, Headers: in.Headers, Partition: int32(in.Shift)}
	if in.Key == nil {
		r.Partition = int32(in.Draw)
	}
	if len(f.topics) > 1 {
		r.Topic = f.topics[f.rng.IntN(len(f.topics))]
	}
	return r
}

// growthNoticed is how old a producer's knowledge of a topic's partitions may be.
const growthNoticed = time.Second

// following are the options of a producer of a feed's records.
func following() []kgo.Opt {
	return []kgo.Opt{kgo.RecordPartitioner(feedPartitioner{}), kgo.MetadataMaxAge(growthNoticed), kgo.MetadataMinAge(growthNoticed / 4)}
}

// feedPartitioner gives a feed's records the partitions that their inputs ask for.
type feedPartitioner struct{}

// ForTopic implements kgo.Partitioner.
func (feedPartitioner) ForTopic(string) kgo.TopicPartitioner { return feedPlacer{newKeyPartitioner()} }

type feedPlacer struct{ byKey kgo.TopicPartitioner }

// RequiresConsistency implements kgo.TopicPartitioner: a partition without a leader for the moment counts too.
func (feedPlacer) RequiresConsistency(*kgo.Record) bool { return true }

// Partition implements kgo.TopicPartitioner.
func (p feedPlacer) Partition(r *kgo.Record, n int) int {
	if r.Key == nil {
		return placed(p.byKey, r, uint32(r.Partition), 0, int32(n))
	}
	return placed(p.byKey, r, 0, r.Partition, int32(n))
}

// placed returns the partition of a record among so many: its key's, or where it has none a drawn one, and some further.
func placed(byKey kgo.TopicPartitioner, r *kgo.Record, draw uint32, shift, partitions int32) int {
	var p int32
	if r.Key == nil {
		p = int32(draw % uint32(partitions))
	} else {
		p = int32(byKey.Partition(r, int(partitions)))
	}
	return int((p + shift) % partitions)
}

// placer makes Kafka records of inputs, for topics that do not grow.
type placer struct {
	topic      string
	partitions int32
	byKey      kgo.TopicPartitioner
}

func newKeyPartitioner() kgo.TopicPartitioner { return kgo.StickyKeyPartitioner(nil).ForTopic("") }

// partitionOf returns the partition of a key for a Java client, by franz-go's murmur2.
func partitionOf(by kgo.TopicPartitioner, key []byte, partitions int32) int32 {
	return int32(by.Partition(&kgo.Record{Key: key}, int(partitions)))
}

func (p *placer) record(in Input) *kgo.Record {
	r := &kgo.Record{Topic: p.topic, Key: in.Key, Value: in.Value, Headers: in.Headers}
	r.Partition = int32(placed(p.byKey, r, in.Draw, int32(in.Shift), p.partitions))
	return r
}

const (
	interleavedProducers = 3
	turnRecords          = 20 // of one producer before the next takes its turn
	turnsPerTransaction  = 3
)

// produceTransactions writes by producers that take turns; each turn is flushed before the next, so that the order in the
// log is that of the generator. The last producer's transactions are aborted; their records come from a generator aside.
func produceTransactions(ctx context.Context, o ProduceOptions, whole *feed) (int, error) {
	aborted := whole.g.o
	aborted.Seed, aborted.Bad = aborted.Seed+1, 0
	nobody := &feed{g: NewGenerator(aborted), topics: whole.topics, rng: whole.rng}
	var producers [interleavedProducers]*kgo.Client
	for i := range producers {
		id := o.Topic + "-producer-" + strconv.Itoa(i)
		client, err := producerClient(o.Brokers, append(following(), kgo.TransactionalID(id), kgo.TransactionTimeout(time.Minute))...)
		if err != nil {
			return 0, err
		}
		defer client.Close()
		producers[i] = client
	}
	made, pace := 0, newPace(o.PerSecond)
	for turn := 0; (o.Count == 0 || made < o.Count) && ctx.Err() == nil; turn++ {
		for i, client := range producers {
			from, aborts := whole, i == len(producers)-1
			if aborts {
				from = nobody
			}
			// Transactions of different producers begin and end in different turns, so that they interleave.
			phase := (turn + i) % turnsPerTransaction
			n, err := produceTurn(ctx, o, client, from, pace, made, aborts, turn == 0 || phase == 0, phase == turnsPerTransaction-1)
			made += n
			if err != nil {
				return made, err
			}
		}
	}
	for i, client := range producers {
		if err := endTransaction(client, i < len(producers)-1); err != nil {
			return made, err
		}
	}
	if o.Count > 0 && made < o.Count {
		return made, fmt.Errorf("consumertest: produce to %s: %d of %d records: %w", o.Topic, made, o.Count, ctx.Err())
	}
	return made, nil
}

// produceTurn writes one producer's next records and returns how many count.
func produceTurn(ctx context.Context, o ProduceOptions, client *kgo.Client, from *feed, pace *pace, made int, aborts, begin, end bool) (int, error) {
	if begin {
		if err := client.BeginTransaction(); err != nil {
			return 0, fmt.Errorf("consumertest: begin a transaction: %w", err)
		}
	}
	var records []*kgo.Record
	for len(records) < turnRecords && (aborts || o.Count == 0 || made+len(records) < o.Count) && (aborts || pace.wait(ctx)) {
		records = append(records, from.next())
	}
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := client.ProduceSync(whole, records...).FirstErr(); err != nil {
		return 0, fmt.Errorf("consumertest: produce to %s in a transaction: %w", o.Topic, err)
	}
	if end {
		if err := endTransaction(client, !aborts); err != nil {
			return 0, err
		}
	}
	if aborts {
		return 0, nil
	}
	return len(records), nil
}

// endTransaction ends the open transaction; with none open it does nothing.
func endTransaction(client *kgo.Client, commit bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := client.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
		return fmt.Errorf("consumertest: end a transaction: %w", err)
	}
	return nil
}

// partitionCount asks for a topic's number of partitions.
func partitionCount(ctx context.Context, brokers []string, topic string) (int32, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return 0, fmt.Errorf("consumertest: client of %v: %w", brokers, err)
	}
	defer client.Close()
	details, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("consumertest: topic %s: %w", topic, err)
	}
	if err := details[topic].Err; err != nil {
		return 0, fmt.Errorf("consumertest: topic %s: %w", topic, err)
	}
	return int32(len(details[topic].Partitions)), nil
}
