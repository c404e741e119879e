package consumertest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Sequence is what is due from a program that keeps partitions and their order: the n-th record of an output partition
// answers the n-th record of the same partition of the input. So programs can be judged that write no source into their
// results. Results are the model's of a Check, with the three members only.
type Sequence struct {
	input      string
	x          *expectation
	partitions []due // by partition
}

// due is what an output partition must hold, one after the other: digests of key and value.
type due struct{ results, copies []uint64 }

// Answers is what a program writes for each event.
type Answers int

const (
	// Results have the three members alert, alert_codes and user_id, and the user's digits as key.
	Results Answers = iota
	// Copies are the input's key and value.
	Copies
)

// ReadSequence reads a topic of events to its end and works out what is due.
func ReadSequence(ctx context.Context, brokers []string, input string) (*Sequence, error) {
	partitions, err := partitionCount(ctx, brokers, input)
	if err != nil {
		return nil, err
	}
	s := &Sequence{input: input, partitions: make([]due, partitions)}
	if s.x, err = newExpectation(CheckOptions{Inputs: []string{input}, Minimal: true}, partitions); err != nil {
		return nil, err
	}
	f, err := newFollower(brokers, input)
	if err != nil {
		return nil, err
	}
	defer f.close()
	var bad error
	_, err = f.readAll(ctx, func(r *kgo.Record) {
		if bad == nil {
			bad = s.x.add(r)
		}
		if bad == nil {
			d := &s.partitions[r.Partition]
			d.copies = append(d.copies, s.digest(r.Key, r.Value))
		}
	})
	if err := errors.Join(err, bad); err != nil {
		return nil, err
	}
	for _, l := range s.x.lanes {
		if err := s.judge(l); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Sequence) judge(l *lane) error {
	d := &s.partitions[l.partition]
	d.results = make([]uint64, 0, len(d.copies))
	var key, value []byte
	err := s.x.walk(l).to(l.end(), func(offset int64, e *expected, found []judged) {
		if len(found) == 0 {
			return
		}
		key = strconv.AppendInt(key[:0], e.user, 10)
		value = s.x.appendDue(value[:0], l, offset, e, &found[0].verdict)
		d.results = append(d.results, s.digest(key, value))
	})
	if err == nil && (len(d.results) != len(d.copies) || l.length != int64(len(d.copies))) {
		err = fmt.Errorf("consumertest: %s/%d has %d offsets, %d records and %d events: a sequence is of events alone",
			s.input, l.partition, l.length, len(d.copies), len(d.results))
	}
	return err
}

// digest is of a key and a value; null and empty are the same.
func (s *Sequence) digest(key, value []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(s.x.seed)
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(key)))
	_, _ = h.Write(length[:]) // a Hash takes everything
	_, _ = h.Write(key)
	_, _ = h.Write(value)
	return h.Sum64()
}

// Records returns how many there are.
func (s *Sequence) Records() int {
	n := 0
	for i := range s.partitions {
		n += len(s.partitions[i].copies)
	}
	return n
}

// SequenceReport is what a comparison with a Sequence found.
type SequenceReport struct {
	Records  int      // found
	Wrong    int      // found, and not what is due at its place
	Missing  int      // due, and not found
	Surplus  int      // found where nothing more is due
	Problems []string // describes the first 20
}

// String gives the numbers in one line.
func (r SequenceReport) String() string {
	return fmt.Sprintf("%d records: %d wrong, %d missing, %d surplus", r.Records, r.Wrong, r.Missing, r.Surplus)
}

// Err returns nil if the output is what is due.
func (r SequenceReport) Err() error {
	if r.Wrong+r.Missing+r.Surplus == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s\n\t%s", ErrReport, r, strings.Join(r.Problems, "\n\t"))
}

// Check compares what a read_committed consumer sees in an output now with what is due. An error says that it cannot.
func (s *Sequence) Check(ctx context.Context, brokers []string, output string, answers Answers) (SequenceReport, error) {
	var report SequenceReport
	partitions, err := partitionCount(ctx, brokers, output)
	if err != nil {
		return report, err
	}
	if int(partitions) != len(s.partitions) {
		return report, fmt.Errorf("consumertest: %s has %d partitions, %s has %d", output, partitions, s.input, len(s.partitions))
	}
	f, err := newFollower(brokers, output)
	if err != nil {
		return report, err
	}
	defer f.close()
	found := make([]int, partitions)
	_, err = f.readAll(ctx, func(r *kgo.Record) {
		report.Records++
		n := found[r.Partition]
		found[r.Partition]++
		dues := s.dues(r.Partition, answers)
		switch {
		case n >= len(dues):
			report.problem(&report.Surplus, "surplus: %s/%d/%d: %d records are due: key %q, value %.200q", output, r.Partition, r.Offset, len(dues), r.Key, r.Value)
		case s.digest(r.Key, r.Value) != dues[n]:
			report.problem(&report.Wrong, "wrong: %s/%d/%d: key %q, value %.200q, not %s", output, r.Partition, r.Offset, r.Key, r.Value, s.text(report, r.Partition, n, answers))
		}
	})
	if err != nil {
		return report, err
	}
	for p, n := range found {
		for dues := s.dues(int32(p), answers); n < len(dues); n++ {
			report.problem(&report.Missing, "missing: %s/%d: %s", output, p, s.text(report, int32(p), n, answers))
		}
	}
	return report, nil
}

func (s *Sequence) dues(partition int32, answers Answers) []uint64 {
	if answers == Copies {
		return s.partitions[partition].copies
	}
	return s.partitions[partition].results
}

func (r *SequenceReport) problem(count *int, format string, args ...any) {
	*count++
	if len(r.Problems) < problemsMax {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// text says what is due at a place. Of more faults than a report describes nothing is worked out.
func (s *Sequence) text(report SequenceReport, partition int32, n int, answers Answers) string {
	l := s.x.lanes[partition]
	offset := l.first + int64(n)
	of := fmt.Sprintf("that of %s/%d/%d", s.input, partition, offset)
	if answers == Copies || len(report.Problems) >= problemsMax {
		return of
	}
	w := s.x.walk(l)
	w.all, w.only = false, l.at(offset).user
	_ = w.to(offset+1, func(at int64, e *expected, found []judged) { // ReadSequence has been here without an error
		if at == offset {
			of = fmt.Sprintf("%s of user %d: %s", of, e.user, s.x.appendDue(nil, l, at, e, &found[0].verdict))
		}
	})
	return of
}
