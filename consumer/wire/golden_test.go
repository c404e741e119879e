package wire

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The golden files are bodies of Fetch answers (version 13, read_committed) of
// a real broker, whose records were written by the three families of clients:
// Java, librdkafka and franz-go. To take them again, with kcat in PATH and a
// script that runs a class of Kafka's tools with --bootstrap-server set:
//
//	LAPWING_TEST_KAFKA=host:port go test ./consumer/wire -run Golden -update -kafka-tools=SCRIPT
var (
	update     = flag.Bool("update", false, "take the golden files again from a real broker")
	kafkaTools = flag.String("kafka-tools", "", "script that runs a class of Kafka's tools")
)

const goldenRecords = 40

func goldenKey(i int) string { return fmt.Sprintf("key-%d", i%5) }
func goldenValue(i int) string {
	return fmt.Sprintf(`{"type":"deposit","amount":"%d.50","user_id":%d,"time":%d} ää`, i, i%5, i)
}

func TestGoldenBatches(t *testing.T) {
	for _, writer := range []string{"java", "librdkafka", "franz"} {
		for _, codec := range allCompressions {
			t.Run(writer+"-"+codec.String(), func(t *testing.T) {
				file := filepath.Join("testdata", "fetch-"+writer+"-"+codec.String()+".bin")
				if *update {
					takeGolden(t, file, func(b broker, topic string) { writeGolden(t, b, topic, writer, codec) })
				}
				f, records := openGolden(t, file)
				if got := Compression(records[batchAttributesAt+1] & attributeCompression); got != codec {
					t.Fatalf("the file has codec %v", got)
				}
				i := 0
				next, err := f.reader.read(records, 0, func(r *Record) error {
					if r.Offset != int64(i) || string(r.Key) != goldenKey(i) || string(r.Value) != goldenValue(i) {
						t.Fatalf("record %d: offset %d key %q value %q", i, r.Offset, r.Key, r.Value)
					}
					if time.UnixMilli(r.TimeMillis).Year() < 2026 {
						t.Fatalf("record %d: time %d", i, r.TimeMillis)
					}
					if v, ok := r.Header("h"); writer != "java" && (!ok || string(v) != "1") {
						t.Fatalf("record %d: header %q %v", i, v, ok)
					}
					i++
					return nil
				})
				if err != nil || i != goldenRecords || next != goldenRecords {
					t.Fatalf("%d records, next %d, %v", i, next, err)
				}
				if f.HighWatermark != goldenRecords || f.LastStable != goldenRecords || f.LogStart != 0 {
					t.Fatalf("marks %d %d %d", f.HighWatermark, f.LastStable, f.LogStart)
				}
			})
		}
	}
}

// TestGoldenTransactions reads a log of two producers with aborts, commits and
// the broker's own markers.
func TestGoldenTransactions(t *testing.T) {
	file := filepath.Join("testdata", "fetch-franz-transactions.bin")
	if *update {
		takeGolden(t, file, func(b broker, topic string) { writeGoldenTransactions(t, b, topic) })
	}
	f, records := openGolden(t, file)
	if len(f.reader.aborted) != 2 {
		t.Fatalf("aborted transactions %v", f.reader.aborted)
	}
	got, next, err := collect(&f.reader, records, 0)
	// Offsets 0 to 2: a0, b0, a1; 3 is the abort of a, 5 the commit of b, 7 the
	// abort of b, 9 the commit of a.
	want := []string{"1=b0", "4=b1", "8=a2"}
	if err != nil || !slices.Equal(got, want) || next != 10 {
		t.Fatalf("got %v next %d err %v, want %v next 10", got, next, err, want)
	}
	f, records = openGolden(t, file)
	f.reader.committed = false
	got, _, err = collect(&f.reader, records, 0)
	if want := []string{"0=a0", "1=b0", "2=a1", "4=b1", "6=b2", "8=a2"}; err != nil || !slices.Equal(got, want) {
		t.Fatalf("uncommitted: got %v err %v, want %v", got, err, want)
	}
}

// openGolden decodes an answer as if its fetcher had received it.
func openGolden(t testing.TB, file string) (f *Fetcher, records []byte) {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f = goldenFetcher(body)
	if records, err = f.decode(body); err != nil {
		t.Fatal(err)
	}
	return f, records
}

// goldenFetcher returns the fetcher of a recorded answer: one of its topic.
func goldenFetcher(body []byte) *Fetcher {
	const before = 1 + 4 + 2 + 4 + 1 // Tags, throttle time, error, session, number of topics.
	return (&Client{}).NewFetcher("", 0, FetchOptions{TopicID: [16]byte(body[before:]), Committed: true})
}

func takeGolden(t *testing.T, file string, write func(b broker, topic string)) {
	t.Helper()
	b := realBroker(t)
	c := b.client(t)
	topic := b.topic(t, c, 1)
	write(b, topic)
	f := c.NewFetcher(topic, 0, FetchOptions{Committed: true})
	ctx := testContext(t)
	if err := f.identify(ctx); err != nil {
		t.Fatal(err)
	}
	for stable, end := int64(-1), int64(0); stable < end; {
		var err error
		if end, err = c.EndOffset(ctx, topic, 0, false); err != nil {
			t.Fatal(err)
		}
		if stable, err = c.EndOffset(ctx, topic, 0, true); err != nil {
			t.Fatal(err)
		}
	}
	err := c.askLeader(ctx, topic, 0, func(ctx context.Context, broker int32) error {
		_, err := f.fetch(ctx, broker, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, f.answer, 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeGolden(t *testing.T, b broker, topic, writer string, codec Compression) {
	var lines strings.Builder
	for i := range goldenRecords {
		fmt.Fprintf(&lines, "%s\t%s\n", goldenKey(i), goldenValue(i))
	}
	var command *exec.Cmd
	switch writer {
	case "franz":
		writeGoldenFranz(t, b, topic, codec)
		return
	case "librdkafka":
		command = exec.Command("kcat", "-P", "-b", b.addr, "-t", topic, "-p", "0", "-K", "\t", "-z", codec.String(), "-H", "h=1", "-X", "linger.ms=500")
	case "java":
		_, port, _ := strings.Cut(b.addr, ":")
		command = exec.Command(*kafkaTools, "org.apache.kafka.tools.ConsoleProducer", "--topic", topic,
			"--compression-codec", codec.String(), "--reader-property", "parse.key=true", "--timeout", "500")
		command.Env = append(os.Environ(), "KAFKA_PORT="+port)
	}
	command.Stdin = strings.NewReader(lines.String())
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", command.Args, err, out)
	}
}

func writeGoldenFranz(t *testing.T, b broker, topic string, codec Compression) {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	c := b.franz(t, kgo.ProducerBatchCompression(codecs[codec]), kgo.ProducerLinger(100*time.Millisecond))
	var records []*kgo.Record
	for i := range goldenRecords {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(goldenKey(i)), Value: []byte(goldenValue(i)),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}}})
	}
	if err := c.ProduceSync(testContext(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func writeGoldenTransactions(t *testing.T, b broker, topic string) {
	ctx := testContext(t)
	producers := map[string]*kgo.Client{}
	for _, name := range []string{"a", "b"} {
		producers[name] = b.franz(t, kgo.TransactionalID(unique(name)), kgo.ProducerLinger(0))
	}
	begin := func(name string) {
		if err := producers[name].BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	c, offset := b.client(t), int64(0)
	end := func(name string, commit bool) {
		if err := producers[name].EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
		// The marker comes later than the answer.
		for before := offset; offset == before; {
			var err error
			if offset, err = c.EndOffset(ctx, topic, 0, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(value string) {
		r := &kgo.Record{Topic: topic, Value: []byte(value)}
		if err := producers[value[:1]].ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		offset = r.Offset + 1
	}
	begin("a")
	begin("b")
	write("a0")
	write("b0")
	write("a1")
	end("a", false)
	write("b1")
	end("b", true)
	begin("b")
	write("b2")
	end("b", false)
	begin("a")
	write("a2")
	end("a", true)
}
