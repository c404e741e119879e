package consumertest

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// letter is an input record that must become a dead letter, whole. It shares no memory with the record that was read.
type letter struct {
	key, value []byte
	packed     bool // value is compressed: what is too large to be an event is large
	headers    []kgo.RecordHeader
	timestamp  time.Time
}

// letterPackBytes is from which size on a value is compressed.
const letterPackBytes = 1 << 10

func newLetter(r *kgo.Record) *letter {
	l := &letter{key: bytes.Clone(r.Key), headers: slices.Clone(r.Headers), timestamp: r.Timestamp}
	for i := range l.headers {
		l.headers[i].Value = bytes.Clone(l.headers[i].Value)
	}
	if l.packed = len(r.Value) >= letterPackBytes; !l.packed {
		l.value = bytes.Clone(r.Value)
		return l
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(r.Value)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("consumertest: compress into memory: %v", err)) // a buffer takes everything
	}
	l.value = b.Bytes()
	return l
}

// record returns the record as it was read.
func (l *letter) record(topic string, partition int32, offset int64) (*kgo.Record, error) {
	r := &kgo.Record{
		Topic: topic, Partition: partition, Offset: offset, Key: l.key, Value: l.value, Headers: l.headers, Timestamp: l.timestamp,
	}
	if !l.packed {
		return r, nil
	}
	value, err := io.ReadAll(flate.NewReader(bytes.NewReader(l.value)))
	if err != nil {
		return nil, fmt.Errorf("consumertest: value of %s/%d/%d: %w", topic, partition, offset, err)
	}
	r.Value = value
	return r, nil
}
