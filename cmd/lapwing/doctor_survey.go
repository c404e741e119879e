package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// What is thought of a topic's records.
const (
	// keysLeast is how many different keys tell partitioners apart: of fewer, all may be in the right partition by chance.
	keysLeast = 10
	// fitPercent is how many of the keyed records a partitioner must fit to be called that of the producers.
	fitPercent = 90
	// mostPercent is from where on something is not a few records but the topic.
	mostPercent = 50
	// futureSlack is what a record's timestamp may be ahead of this machine's clock.
	futureSlack = 5 * time.Second
)

// recordBytes is about what a record takes in a batch beside its key, value and headers.
const recordBytes = 10

// partitioners are all that can be configured.
var partitioners = []contract.Partitioner{contract.Murmur2, contract.CRC32, contract.FNV1a}

// survey counts what the records of one topic are.
type survey struct {
	decoder     *contract.Decoder
	otherUnit   *contract.Decoder // reads time in the unit that is not configured
	millis      bool              // time is configured as milliseconds
	fromRecord  bool              // time is the record's timestamp
	partitioner contract.Partitioner
	partitions  int32
	now         int64 // milliseconds

	records, tombstones, events int64
	bytes                       int64 // of all records, as they are in an uncompressed batch, about
	reasons                     map[contract.Reason]int64
	details                     map[contract.Reason]string // of the first
	wrongUnit                   int64                      // events, were the other unit configured
	noKey, otherKey             int64                      // of the events: key missing, key not the user_id
	misplaced                   int64                      // of the events: in another partition than the user's
	keyed                       int64                      // records with a key
	fits                        [3]int64                   // of the keyed records, by partitioner
	keys                        map[string]struct{}        // the first keysLeast different ones
	future, furthest            int64                      // records, and the most milliseconds, ahead of now

	ev      contract.Event
	userKey []byte
}

func newSurvey(o contract.DecoderOptions, p contract.Partitioner, partitions int32, now time.Time) *survey {
	other := o
	other.TimeMillis, other.MaxFuture = !o.TimeMillis, 0
	return &survey{
		decoder: contract.NewDecoder(o), otherUnit: contract.NewDecoder(other), millis: o.TimeMillis, fromRecord: o.TimeFromRecord,
		partitioner: p, partitions: partitions, now: now.UnixMilli(),
		reasons: map[contract.Reason]int64{}, details: map[contract.Reason]string{}, keys: map[string]struct{}{},
	}
}

// add counts a record.
func (s *survey) add(partition int32, r *wire.Record) {
	s.records++
	s.bytes += recordBytes + int64(len(r.Key)+len(r.Value))
	for name, value := range r.Headers() {
		s.bytes += int64(len(name) + len(value))
	}
	if ahead := r.TimeMillis - s.now; ahead > futureSlack.Milliseconds() {
		s.future++
		s.furthest = max(s.furthest, ahead)
	}
	if len(r.Key) > 0 {
		s.keyed++
		for i, p := range partitioners {
			if p.Partition(r.Key, s.partitions) == partition {
				s.fits[i]++
			}
		}
		if len(s.keys) < keysLeast {
			s.keys[string(r.Key)] = struct{}{}
		}
	}
	if r.Value == nil {
		s.tombstones++
		return
	}
	if refusal := s.decoder.Decode(r.Value, r.TimeMillis, &s.ev); refusal != nil {
		s.refused(refusal, r)
		return
	}
	s.events++
	if s.millis && !s.fromRecord && s.looksLikeSeconds() {
		s.wrongUnit++
	}
	s.userKey = contract.AppendUserKey(s.userKey[:0], s.ev.UserID)
	switch {
	case len(r.Key) == 0:
		s.noKey++
	case !bytes.Equal(r.Key, s.userKey):
		s.otherKey++
	}
	if s.partitioner.Partition(s.userKey, s.partitions) != partition {
		s.misplaced++
	}
}

// looksLikeSeconds reports whether the event's time, read as milliseconds, is within weeks of 1970, and read as seconds
// after 2001.
func (s *survey) looksLikeSeconds() bool { return s.ev.Time >= 1_000_000 && s.ev.Time < 100_000_000 }

func (s *survey) refused(refusal *contract.Refusal, r *wire.Record) {
	s.reasons[refusal.Reason]++
	if s.details[refusal.Reason] == "" {
		s.details[refusal.Reason] = refusal.Detail
	}
	if refusal.Reason == contract.ReasonTimeRange && !s.millis && !s.fromRecord && s.otherUnit.Decode(r.Value, r.TimeMillis, &s.ev) == nil &&
		s.ev.Time >= contract.TimeSecondsEnd/1000 {
		s.wrongUnit++
	}
}

// surveyed reports what the records of a topic are.
func (d *doctor) surveyed(subject string, s *survey, timestamps string) {
	if s.records == 0 {
		d.note(checkRecords, subject, "has no records to look at, so nothing is known of keys, partitioner and time", "")
		return
	}
	text := fmt.Sprintf("looked at the newest %s", plural(s.records, "record"))
	if s.tombstones > 0 {
		text += fmt.Sprintf(", %s of them without a value (skipped)", grouped(s.tombstones))
	}
	d.ok(checkRecords, subject, text)
	d.surveyedEvents(subject, s)
	d.surveyedTimes(subject, s, timestamps)
	d.surveyedKeys(subject, s)
}

func (d *doctor) surveyedEvents(subject string, s *survey) {
	valued := s.records - s.tombstones
	bad := valued - s.events
	if bad == 0 {
		d.ok(checkEvents, subject, "all are events")
		return
	}
	var reasons []string
	worst := contract.Reason("")
	for _, r := range contract.Reasons() {
		if n := s.reasons[r]; n > 0 {
			reasons = append(reasons, fmt.Sprintf("%s %s", r, grouped(n)))
			if worst == "" || n > s.reasons[worst] {
				worst = r
			}
		}
	}
	l := levelWarn
	if bad*100 > valued*mostPercent {
		l = levelFail
	}
	d.add(l, checkEvents, subject, fmt.Sprintf("%s are no events and become dead letters: %s; such as: %s", share(bad, valued), strings.Join(reasons, ", "), s.details[worst]),
		"mend the producer, or the section events of the configuration")
}

func (d *doctor) surveyedTimes(subject string, s *survey, timestamps string) {
	configured, found, unit := "seconds", "milliseconds", "ms"
	if s.millis {
		configured, found, unit = "milliseconds", "seconds", "s"
	}
	valued := s.records - s.tombstones
	switch {
	case s.fromRecord:
		d.ok(checkTime, subject, "time is taken from the record's timestamp ("+timestamps+")")
	case s.wrongUnit*100 > valued*mostPercent:
		d.fail(checkTime, subject, fmt.Sprintf("time looks like %s in %s, and %s are configured", found, share(s.wrongUnit, valued), configured), "set events.time_unit: "+unit)
	case s.wrongUnit > 0:
		d.warn(checkTime, subject, fmt.Sprintf("time looks like %s in %s, and %s are configured", found, share(s.wrongUnit, valued), configured), "mend the producers of these")
	case s.events > 0:
		d.ok(checkTime, subject, "time is in "+configured+", as configured")
	}
	switch {
	case s.future > 0 && timestamps == "LogAppendTime":
		d.warn(checkClock, subject, fmt.Sprintf("%s have a timestamp in the future, by up to %s; the brokers set it (LogAppendTime), so their clock is ahead of this machine's",
			share(s.future, s.records), span(time.Duration(s.furthest)*time.Millisecond)), "keep both in time by NTP")
	case s.future > 0:
		d.warn(checkClock, subject, fmt.Sprintf("%s have a timestamp in the future, by up to %s", share(s.future, s.records), span(time.Duration(s.furthest)*time.Millisecond)),
			"set the clocks of the producers, or this machine's")
	}
}

func (d *doctor) surveyedKeys(subject string, s *survey) {
	const remedy = "let the producers key records by user_id as decimal text; until then such records are forwarded to their user's partition, which costs throughput"
	if s.events == 0 {
		return
	}
	if s.noKey > 0 {
		d.warn(checkKeys, subject, share(s.noKey, s.events)+" of the events have no key", remedy)
	}
	if s.otherKey > 0 {
		d.warn(checkKeys, subject, share(s.otherKey, s.events)+" of the events have a key that is not the user_id", remedy)
	}
	if s.noKey == 0 && s.otherKey == 0 {
		d.ok(checkKeys, subject, "the key of every event is its user_id")
	}
}

// tells reports whether the producers choose by the partitioner, as far as so many keys tell it.
func (s *survey) tells(p contract.Partitioner) bool {
	return len(s.keys) >= keysLeast && s.fits[p]*100 >= s.keyed*fitPercent
}

// partitioners says of each input by which partitioner its producers choose. One is configured for all.
func (d *doctor) partitioners() {
	fitting := "" // an input that the configured one is right for
	for _, input := range d.config.Kafka.Input {
		if t := d.topics[input]; fitting == "" && t != nil && t.survey != nil && t.survey.tells(t.survey.partitioner) {
			fitting = input
		}
	}
	for _, input := range d.config.Kafka.Input {
		if t := d.topics[input]; t != nil && t.survey != nil && t.survey.records > 0 {
			d.surveyedPartitioner("topic "+input, t.survey, fitting)
		}
	}
}

// surveyedPartitioner says by which partitioner the producers choose, and how many events are in another partition than
// the configured one gives. fitting is an input that the configured one is right for, "" where none is.
func (d *doctor) surveyedPartitioner(subject string, s *survey, fitting string) {
	configured := s.partitioner
	if s.partitions == 1 {
		d.ok(checkPartitioner, subject, "one partition: every partitioner fits")
		return
	}
	var fits []string
	best := configured
	for _, p := range partitioners {
		fits = append(fits, fmt.Sprintf("%s %s", p, share(s.fits[p], s.keyed)))
		if s.fits[p] > s.fits[best] {
			best = p
		}
	}
	text := "the keys fit " + strings.Join(fits, ", ")
	switch {
	case s.keyed == 0:
		d.note(checkPartitioner, subject, "no record has a key, so the producers' partitioner cannot be told", "")
	case len(s.keys) < keysLeast:
		d.note(checkPartitioner, subject, fmt.Sprintf("%s; with %s that cannot be told", text, plural(int64(len(s.keys)), "different key")), "")
	case s.fits[configured] == s.keyed:
		d.ok(checkPartitioner, subject, fmt.Sprintf("%s; kafka.partitioner is %s", text, configured))
	case best != configured && s.tells(best) && fitting != "":
		d.warn(checkPartitioner, subject, fmt.Sprintf("%s; kafka.partitioner is %s, as topic %s needs it", text, configured, fitting), fmt.Sprintf("give its producers the partitioner %s", configured))
	case best != configured && s.tells(best):
		d.fail(checkPartitioner, subject, fmt.Sprintf("%s; kafka.partitioner is %s", text, configured), fmt.Sprintf("set kafka.partitioner: %s for all members, and stop them all before one starts with it", best))
	case best == configured && s.tells(best):
		d.warn(checkPartitioner, subject, fmt.Sprintf("%s; kafka.partitioner is %s, and some producer chooses otherwise", text, configured), "find that producer and give it the same partitioner")
	default:
		d.warn(checkPartitioner, subject, text+"; so the producers choose partitions in several ways, or by something else than the key",
			fmt.Sprintf("give all producers the partitioner %s", configured))
	}
	if s.misplaced > 0 {
		l, remedy := levelWarn, ""
		if d.topics[d.rekeyTopic()] == nil {
			remedy = d.rekeyRemedy()
			if !d.config.Kafka.CreateTopics {
				l = levelFail
			}
		}
		d.add(l, checkPartitioner, subject, fmt.Sprintf("%s of the events are in another partition than their user's by %s, and are forwarded to %s", share(s.misplaced, s.events), configured, d.rekeyTopic()), remedy)
	}
}
