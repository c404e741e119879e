package consumer

import (
	"testing"

	"github.com/lapwing/lapwing/consumer/wire"
)

// TestChunkKeepsNullAndEmpty checks that a dead letter keeps an empty value, key or header empty and a null one null,
// also where it is the first thing in its chunk: a null value would be a tombstone.
func TestChunkKeepsNullAndEmpty(t *testing.T) {
	tn := idleTenure(t, idleEngine(t, 1), 0)
	c := &chunk{records: []record{{}}}
	tn.readers[0].decode(c, &c.records[0], &wire.Record{Key: nil, Value: []byte{}})
	x := c.records[0].extra
	if x == nil || x.refusal == nil {
		t.Fatal("an empty value is no dead letter")
	}
	if x.value == nil || len(x.value) > 0 {
		t.Errorf("the empty value became %#v", x.value)
	}
	if x.key != nil {
		t.Errorf("the null key became %#v", x.key)
	}
}
