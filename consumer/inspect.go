package consumer

import (
	"cmp"
	"slices"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// What is here is for those who look at a group and take no part in it, such as lapwing doctor. Nothing of it writes.

// RekeyTopic names a group's topic of forwarded records.
func RekeyTopic(group string) string { return group + ".rekey" }

// NeedsRekey reports whether a group has that topic. Otherwise no record can be in another partition than its user's, and
// the order of judging is the topic's.
func NeedsRekey(partitions int32, inputs int) bool { return partitions > 1 || inputs > 1 }

// CommitMark is what the metadata of a committed offset says, where Lapwing made it.
type CommitMark struct {
	Topic    string // see TopicIdentity
	Settings string // see Layout
	Offset   int64  // that it was made for: metadata that somebody has copied is of another
	At       int64  // up to which records were judged; behind it, up to Offset, are none
}

// ParseCommitMark returns false for metadata that Lapwing did not make.
func ParseCommitMark(metadata string) (CommitMark, bool) {
	m, ok := parseCommitMetadata(metadata)
	return CommitMark{Topic: m.topic, Settings: m.layout.settings, Offset: m.offset, At: m.at}, ok
}

// TopicIdentity tells a topic from the one that was deleted and made again under its name.
func TopicIdentity(t wire.Topic) string { return (&source{topic: t.Name, id: t.ID}).identity() }

// Layout is what a state's meaning depends on.
type Layout struct {
	Inputs      []string // in the order of their names
	Partitions  int32
	Partitioner contract.Partitioner
	Settings    string // a hash of what decides what an event is
	text        string
}

// String returns the text that stands in checkpoints, commits and the group's protocol.
func (l Layout) String() string { return l.text }

func (e *era) facts() Layout {
	l := e.layout()
	facts := Layout{Partitions: l.partitions, Partitioner: l.partitioner, Settings: l.settings, text: e.Layout}
	for _, s := range e.Sources {
		if !s.Rekey {
			facts.Inputs = append(facts.Inputs, s.Topic)
		}
	}
	return facts
}

// Change is what a start does about the group's layout.
type Change int

// What a start does.
const (
	ChangeNone    Change = iota // it is the same
	ChangeGoesOn                // judges what is there under the former one, and goes on under its own; states stay
	ChangeSettled               // the same, but only where nothing is left to replay under the former one
	ChangeAnew                  // begins with fresh states: an input was deleted and made again
)

// Inspection compares what the store says of a group with what an engine of some options and topics would do. It is
// immutable.
type Inspection struct {
	engine  *Engine // only asked: it has no more than sources and layout
	lineage lineage
	known   bool // the lineage is the store's
}

// Inspect takes the options, the inputs as the cluster describes them, all of them and in any order, and the text of
// state.Store.Lineage. Inputs that differ in their partition counts are taken for grown to the largest. It returns an error
// where the text cannot be read.
func Inspect(o Options, inputs []wire.Topic, text string) (*Inspection, error) {
	i := &Inspection{engine: &Engine{options: o}}
	if text != "" {
		var err error
		if i.lineage, err = parseLineage(text); err != nil {
			return nil, err
		}
		i.known = true
	}
	if o.Decoder.Types == nil { // as New does
		i.engine.options.Decoder.Types = o.Rules.Types()
	}
	e, partitions := i.engine, int32(1)
	for _, t := range inputs {
		e.sources = append(e.sources, source{topic: t.Name, id: t.ID})
		partitions = max(partitions, t.Partitions)
	}
	slices.SortFunc(e.sources, func(a, b source) int { return cmp.Compare(a.topic, b.topic) })
	e.layout = newLayout(e.sources, partitions, o.Partitioner, e.options.settingsText())
	if NeedsRekey(partitions, len(inputs)) {
		e.sources = append(e.sources, source{topic: o.rekeyTopic(), rekey: true}) // its id is in no layout
	}
	if !i.known {
		i.lineage = lineage{}.restarted(newEra(e.layout, e.sources))
	}
	return i, nil
}

// Present returns the layout that the group judges under, and false where the store does not say: none has begun, or the
// store was wiped.
func (i *Inspection) Present() (Layout, bool) { return i.lineage.Present.facts(), i.known }

// Next returns the layout that the engine would judge under.
func (i *Inspection) Next() Layout {
	e := newEra(i.engine.layout, i.engine.sources)
	return e.facts()
}

// Change returns what the engine's start does about the layout.
func (i *Inspection) Change() Change {
	if !i.known || i.lineage.Present.Layout == i.engine.layout.String() {
		return ChangeNone
	}
	switch i.engine.changingFrom(&i.lineage.Present) {
	case changeGoesOn:
		return ChangeGoesOn
	case changeAnew:
		return ChangeAnew
	case changeSettings:
	}
	return ChangeSettled
}

// Settled reports whether a lane with this checkpoint waits for a change of the layout: it is not judged any more under the
// present one.
func (i *Inspection) Settled(c state.Checkpoint) bool {
	return i.known && i.lineage.Present.step(c.Layout) == settled
}

// Sources returns the topics that a lane is judged from, or will be.
func (i *Inspection) Sources() []string { return i.engine.sourceTopics() }

// Offset returns up to which offset of a topic a lane's checkpoint covers it, and false where it says nothing of it: it does
// not count, or comes from before the topic was among the sources.
func (i *Inspection) Offset(lane int32, c state.Checkpoint, topic string) (int64, bool) {
	l := claimedLane{number: lane, lineage: &i.lineage, layout: i.engine.layout}
	l.read(c, true)
	m, known := l.offset(source{topic: topic, rekey: topic == i.engine.options.rekeyTopic()})
	return m, known && m >= 0
}
