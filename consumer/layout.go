package consumer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/lapwing/lapwing/consumer/contract"
)

// layout is what a state's meaning depends on: the input topics with their ids, their partition count, the partitioner, and
// the settings that decide what an event is. [M, C) is replayed under the layout it was judged under. The text form stands
// in each fence record and in the metadata of each offset commit.
type layout struct {
	topics      string // hash of the input topics' names and ids
	partitions  int32
	partitioner contract.Partitioner
	settings    string // hash of the settings
}

func newLayout(inputs []source, partitions int32, partitioner contract.Partitioner, settings string) layout {
	var topics strings.Builder
	for _, s := range inputs {
		topics.WriteString(s.identity())
	}
	return layout{topics: shortHash(topics.String()), partitions: partitions, partitioner: partitioner, settings: shortHash(settings)}
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// laneOf returns the lane that a user belongs to, by the user's key.
func (l layout) laneOf(key []byte) int32 { return l.partitioner.Partition(key, l.partitions) }

// String returns the text form, for example 3f2a9c1b.6.murmur2.a81c22d0.
func (l layout) String() string {
	return l.topics + "." + strconv.Itoa(int(l.partitions)) + "." + l.partitioner.String() + "." + l.settings
}

func parseLayout(text string) (layout, error) {
	part := strings.Split(text, ".")
	if len(part) != 4 {
		return layout{}, fmt.Errorf("consumer: layout %q is not of the form topics.partitions.partitioner.settings", text)
	}
	n, err := strconv.ParseInt(part[1], 10, 32)
	if err == nil && n < 1 {
		err = fmt.Errorf("%d partitions", n)
	}
	if err != nil {
		return layout{}, fmt.Errorf("consumer: layout %q: %w", text, err)
	}
	p, err := contract.ParsePartitioner(part[2])
	if err != nil {
		return layout{}, fmt.Errorf("consumer: layout %q: %w", text, err)
	}
	return layout{topics: part[0], partitions: int32(n), partitioner: p, settings: part[3]}, nil
}

// commitMark is the start of the metadata of every offset commit that Lapwing makes. A commit without it was made by
// something else: a reset tool, another consumer.
const commitMark = "lapwing/1 layout="

// mark is what the metadata of an offset commit says.
type mark struct {
	layout layout
	topic  string // hash of the topic's name and id: an offset of a topic that was deleted means nothing in the one made again
	offset int64  // that was committed: a tool that copies metadata to another offset shows by it
	// at is the offset up to which records were judged. It is less than offset where only boundaries and the markers of
	// transactions stand in between, which would else be lag for ever, and lost records once they are deleted.
	at int64
}

func (m mark) String() string {
	text := commitMark + m.layout.String() + " topic=" + m.topic + " offset=" + strconv.FormatInt(m.offset, 10)
	if m.at != m.offset {
		text += " at=" + strconv.FormatInt(m.at, 10)
	}
	return text
}

// commitMarkNewer reports whether a newer Lapwing made the commit, by a form of metadata that this build does not know.
func commitMarkNewer(text string) bool {
	version, _, ok := strings.Cut(strings.TrimPrefix(text, "lapwing/"), " ")
	n, err := strconv.ParseUint(version, 10, 31)
	return ok && err == nil && n > 1 && strings.HasPrefix(text, "lapwing/")
}

// parseCommitMetadata returns what the metadata of a commit says, and false when Lapwing did not make it.
func parseCommitMetadata(text string) (mark, bool) {
	var m mark
	rest, ok := strings.CutPrefix(text, commitMark)
	if !ok {
		return mark{}, false
	}
	fields := strings.Split(rest, " ")
	if len(fields) < 3 || len(fields) > 4 {
		return mark{}, false
	}
	var err error
	if m.layout, err = parseLayout(fields[0]); err != nil {
		return mark{}, false
	}
	if m.topic, ok = strings.CutPrefix(fields[1], "topic="); !ok || m.topic == "" {
		return mark{}, false
	}
	number := func(field, name string) (n int64, ok bool) {
		text, ok := strings.CutPrefix(field, name+"=")
		n, err := strconv.ParseInt(text, 10, 64)
		return n, ok && err == nil
	}
	if m.offset, ok = number(fields[2], "offset"); !ok {
		return mark{}, false
	}
	m.at = m.offset
	if len(fields) == 4 {
		m.at, ok = number(fields[3], "at")
	}
	return m, ok
}
