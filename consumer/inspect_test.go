package consumer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// TestInspect goes through what a start does about a layout that was stored, and whose offsets a checkpoint has.
func TestInspect(t *testing.T) {
	a, b := wire.Topic{Name: "a", ID: [16]byte{1}, Partitions: 2}, wire.Topic{Name: "b", ID: [16]byte{2}, Partitions: 2}
	inspect := func(text string, change func(*Options), topics ...wire.Topic) *Inspection {
		t.Helper()
		o := DefaultOptions()
		o.Group, o.Decoder.Types = "g", rules.DefaultTypes()
		if change != nil {
			change(&o)
		}
		i, err := Inspect(o, topics, text)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	none := inspect("", nil, b, a)
	if _, known := none.Present(); known || none.Change() != ChangeNone || !slices.Equal(none.Sources(), []string{"a", "b", "g.rekey"}) {
		t.Errorf("nothing is stored: known %v, change %v, sources %v", known, none.Change(), none.Sources())
	}
	stored := func(of *Inspection) string {
		return fmt.Sprintf(`{"version":3,"present":{"number":3,"layout":%q,"sources":[{"topic":"a","id":%q},{"topic":"g.rekey","id":"0","rekey":true}],"began":[7,8]},
			"former":[{"number":1,"layout":%[1]q,"sources":[{"topic":"g.rekey","id":"0","rekey":true},{"topic":"a","id":%[2]q}],"ended":[5,6]}]}`, of.Next(), TopicIdentity(a))
	}
	text := stored(inspect("", nil, a))
	grown, again := a, a
	grown.Partitions, again.ID = 3, [16]byte{9}
	for _, c := range []struct {
		what string
		now  *Inspection
		want Change
	}{
		{"nothing", inspect(text, nil, a), ChangeNone},
		{"partitions", inspect(text, nil, grown), ChangeGoesOn},
		{"partitioner", inspect(text, func(o *Options) { o.Partitioner = contract.CRC32 }, a), ChangeGoesOn},
		{"inputs", inspect(text, nil, a, b), ChangeSettled},
		{"settings", inspect(text, func(o *Options) { o.Decoder.TimeMillis = true }, a), ChangeSettled},
		{"one more setting", inspect(text, func(o *Options) { o.Decoder.StripFrame = true }, a), ChangeSettled},
		{"the topic's id", inspect(text, nil, again), ChangeAnew},
	} {
		if got := c.now.Change(); got != c.want {
			t.Errorf("%s changed: %v, want %v", c.what, got, c.want)
		}
		if present, known := c.now.Present(); !known || present.Partitions != 2 || present.Partitioner != contract.Murmur2 || !slices.Equal(present.Inputs, []string{"a"}) {
			t.Errorf("%s changed: present is %+v, %v", c.what, present, known)
		}
	}

	i := inspect(text, nil, a, b)
	present, _ := i.Present()
	for _, c := range []struct {
		what    string
		layout  string
		sources []int64
		want    [3]int64 // of a, b and g.rekey; -1: nothing is said of it
		settled bool
	}{
		{"of the present era", present.String(), []int64{10, 2}, [3]int64{10, -1, 2}, false},
		{"settled in it", "settled.3", []int64{10, 2}, [3]int64{10, -1, 2}, true},
		{"of the one before", "settled.1", []int64{10, 2}, [3]int64{2, -1, 10}, false},
		{"of none that is known", "settled.2", []int64{10, 2}, [3]int64{-1, -1, -1}, false},
	} {
		checkpoint := state.Checkpoint{Layout: c.layout, Sources: c.sources, Offset: sum(c.sources), Incarnation: 5}
		var got [3]int64
		for n, topic := range i.Sources() {
			var known bool
			if got[n], known = i.Offset(0, checkpoint, topic); !known {
				got[n] = -1
			}
		}
		if got != c.want || i.Settled(checkpoint) != c.settled {
			t.Errorf("a checkpoint %s: %v, settled %v; want %v, %v", c.what, got, i.Settled(checkpoint), c.want, c.settled)
		}
	}
	if _, err := Inspect(DefaultOptions(), []wire.Topic{a}, `{"present":{"layout":"a.b"}}`); err == nil {
		t.Error("a layout that is none is taken")
	}
}
