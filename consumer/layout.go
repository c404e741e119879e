package consumer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// layout is what a state's meaning depends on: the input topics with their ids, their partition count, and the
// settings that decide what an event is and which lane it belongs to. [M, C) is replayed under the layout it was
// judged under. The text form stands in each fence record and in the metadata of each offset commit.
type layout struct {
	topics     string // hash of the input topics' names and ids
	partitions int32
	settings   string // hash of the settings
}

func newLayout(topic string, id [16]byte, partitions int32, settings string) layout {
	return layout{topics: shortHash(topic + "\x00" + hex.EncodeToString(id[:])), partitions: partitions, settings: shortHash(settings)}
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// String returns the text form, for example 3f2a9c1b.6.a81c22d0.
func (l layout) String() string {
	return l.topics + "." + strconv.Itoa(int(l.partitions)) + "." + l.settings
}

func parseLayout(text string) (layout, error) {
	part := strings.Split(text, ".")
	if len(part) != 3 {
		return layout{}, fmt.Errorf("consumer: layout %q is not of the form topics.partitions.settings", text)
	}
	n, err := strconv.ParseInt(part[1], 10, 32)
	if err != nil {
		return layout{}, fmt.Errorf("consumer: layout %q: %w", text, err)
	}
	return layout{topics: part[0], partitions: int32(n), settings: part[2]}, nil
}

// commitMark is the start of the metadata of every offset commit that Lapwing makes. A commit without it was made by
// something else: a reset tool, another consumer.
const commitMark = "lapwing/1 layout="

// mark is what the metadata of an offset commit says.
type mark struct {
	layout layout
	offset int64 // that was committed: a tool that copies metadata to another offset shows by it
	// at is the offset up to which records were judged. It is less than offset where only boundaries and the markers of
	// transactions stand in between, which would else be lag for ever, and lost records once they are deleted.
	at int64
}

func (m mark) String() string {
	text := commitMark + m.layout.String() + " offset=" + strconv.FormatInt(m.offset, 10)
	if m.at != m.offset {
		text += " at=" + strconv.FormatInt(m.at, 10)
	}
	return text
}

// commitMetadata returns the metadata of a commit of the offset.
func (l layout) commitMetadata(offset int64) string { return mark{l, offset, offset}.String() }

// parseCommitMetadata returns what the metadata of a commit says, and false when Lapwing did not make it.
func parseCommitMetadata(text string) (mark, bool) {
	head, offset, _ := strings.Cut(text, " offset=")
	offset, at, quiet := strings.Cut(offset, " at=")
	rest, ok := strings.CutPrefix(head, commitMark)
	if !ok {
		return mark{}, false
	}
	var m mark
	var err error
	if m.layout, err = parseLayout(rest); err != nil {
		return mark{}, false
	}
	if m.offset, err = strconv.ParseInt(offset, 10, 64); err != nil {
		return mark{}, false
	}
	if m.at = m.offset; quiet {
		m.at, err = strconv.ParseInt(at, 10, 64)
	}
	return m, err == nil
}
