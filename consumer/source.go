package consumer

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// source is one topic that a lane reads its own partition of: the inputs in the order of their names, then, where there is
// more than one partition or input, the rekey topic.
type source struct {
	topic string
	id    [16]byte
	rekey bool // holds copies of records that producers put into another partition, and boundaries
}

// identity is a hash of the topic's name and id: a topic that is deleted and made again has another one.
func (s *source) identity() string { return shortHash(s.topic + "\x00" + hex.EncodeToString(s.id[:])) }

// A lane's place in the order of judging is one offset per source. Their sum grows with each record, whatever source it
// comes from, so it stands for the place wherever only earlier and later matter: in tags, in M and C, in the cache. It is
// the same in a replay, since that goes from source to source at the very places where judging did (see boundary).
func sum(offsets []int64) (n int64) {
	for _, o := range offsets {
		n += o
	}
	return n
}

// segment is a stretch of one source in the order of judging.
type segment struct {
	source int
	to     int64
}

// boundary says in which order a parcel took its sources. It is a record in the lane's partition of the rekey topic,
// written in the parcel's transaction, where the order could not be told without it: the parcel has several segments, or
// begins with another source than the one before ended with. So what was judged between two boundaries came from a
// single source.
type boundary struct {
	from     []int64 // by source, before the first segment
	segments []segment
}

// headerBoundary is the only header of a boundary; its value is the layout that was judged under. A copy of a hostile record
// never ends with it: Lapwing's own headers come last.
const headerBoundary = "lapwing-boundary"

// segmentsMax bounds the segments of a parcel, and with them the size of a boundary.
const segmentsMax = 1000

// boundaryBytesMax bounds the batch of a boundary: two numbers of 3 and 19 digits for each segment, and for each source.
const boundaryBytesMax = (segmentsMax+2)*24 + 256

// append appends the text of the boundary: the offsets before, then source:to of each segment, for example
// "100,5 0:110 1:9 0:120".
func (b *boundary) append(dst []byte) []byte {
	for i, o := range b.from {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, o, 10)
	}
	for _, s := range b.segments {
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(s.source), 10)
		dst = append(dst, ':')
		dst = strconv.AppendInt(dst, s.to, 10)
	}
	return dst
}

// parseBoundary reads the text of a boundary.
func parseBoundary(text string) (boundary, error) {
	fail := func(what string) (boundary, error) {
		return boundary{}, fmt.Errorf("consumer: boundary %.100q: %s", text, what)
	}
	fields := strings.Split(text, " ")
	from, err := parseOffsets(fields[0])
	if err != nil || len(from) < 2 {
		return fail("does not begin with the offsets of several sources")
	}
	if len(fields) < 2 || len(fields) > 1+segmentsMax {
		return fail("has no segments, or too many")
	}
	b := boundary{from: from}
	at := append([]int64(nil), from...)
	for _, field := range fields[1:] {
		head, tail, _ := strings.Cut(field, ":")
		source, err := strconv.ParseUint(head, 10, 16)
		if err != nil || int(source) >= len(from) {
			return fail("names a source that is not there")
		}
		to, err := strconv.ParseInt(tail, 10, 64)
		if err != nil || to <= at[source] {
			return fail("has a segment that does not move forward")
		}
		at[source] = to
		b.segments = append(b.segments, segment{int(source), to})
	}
	return b, nil
}

func parseOffsets(text string) ([]int64, error) {
	var offsets []int64
	for part := range strings.SplitSeq(text, ",") {
		o, err := strconv.ParseUint(part, 10, 63)
		if err != nil {
			return nil, err
		}
		offsets = append(offsets, int64(o))
	}
	return offsets, nil
}
