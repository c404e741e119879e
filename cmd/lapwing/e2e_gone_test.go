package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// These tests take something away from an engine, or change it behind its back, as retention, operators and accidents do:
// input, offsets, checkpoints, the topic itself. Each must be told apart by message and metrics, with exact counts, and
// each remedy that a message names must work.

// TestRetentionPassedCleanStop deletes input that a cleanly stopped engine has not judged yet, in one of its two lanes.
func TestRetentionPassedCleanStop(t *testing.T) {
	r := newGoneRig(t, systemOptions{partitions: 2})
	r.add(600)
	r.run("")
	r.term()
	c := r.offsets()[0].At
	r.add(600)
	r.deleteBelow(0, c+100)

	e := r.start("")
	e.waitProblem(0, fmt.Sprintf("%s/0: input was deleted before it was used: of [%d, %d), 0 records are missing for the states and 100 were never judged", r.input, c, c+100),
		fmt.Sprintf("kafka.on_data_loss: continue goes on from %d with fresh states", c+100))
	r.await("the other lane is judged", func() bool { return r.offsets()[1].At >= int64(len(r.ledger[1])) })
	e.metrics(map[string]int64{
		`stopped_lanes{cause="data_loss"}`: 1, `lost_records_total{use="judge"}`: 0, `recoveries_total{cause="data_loss"}`: 0,
	})
	if at := r.offsets()[0].At; at != c {
		t.Errorf("the stopped lane's offset moved from %d to %d", c, at)
	}
	r.term()

	e = r.run("  on_data_loss: continue")
	e.WaitLog(readyTimeout, "going on behind it with fresh states", "lost_replay=0 lost_unjudged=100")
	e.metrics(map[string]int64{
		`stopped_lanes{cause="data_loss"}`: 0, `lost_records_total{use="judge"}`: 100, `lost_records_total{use="replay"}`: 0,
		`lost_records_total{use="rebuild"}`: 0, `recoveries_total{cause="data_loss"}`: 1,
	})
	r.term()
	r.checkStopped(true)
	r.add(600)
	e = r.run("") // nothing is left of it
	e.metrics(map[string]int64{`lost_records_total{use="judge"}`: 0, `recoveries_total{cause="data_loss"}`: 0})
	r.verify(map[int32]hole{0: {from: c, to: c + 100, fresh: c + 100}})
	r.term()
}

// TestRetentionPassedKill deletes input after a crash: between the checkpoint and the committed offset in one lane, beyond
// it in another, and nothing in the third.
func TestRetentionPassedKill(t *testing.T) {
	r := newGoneRig(t, systemOptions{partitions: 3})
	r.flush = "10m"
	r.add(600)
	r.run("")
	r.term()
	m := r.offsets() // the checkpoint from now on
	r.add(600)
	r.run("")
	r.kill()
	c := r.offsets()
	r.add(600)
	within := (m[0].At + c[0].At) / 2
	beyond := c[1].At + 70
	r.deleteBelow(0, within)
	r.deleteBelow(1, beyond)

	missing0, missing1 := within-m[0].At, c[1].At-m[1].At
	e := r.start("")
	e.waitProblem(0, fmt.Sprintf("of [%d, %d), %d records are missing for the states and 0 were never judged", m[0].At, within, missing0),
		fmt.Sprintf("goes on from %d", c[0].At))
	e.waitProblem(1, fmt.Sprintf("of [%d, %d), %d records are missing for the states and 70 were never judged", m[1].At, beyond, missing1),
		fmt.Sprintf("goes on from %d", beyond))
	r.await("the third lane is judged", func() bool { return r.offsets()[2].At >= int64(len(r.ledger[2])) })
	e.metrics(map[string]int64{`stopped_lanes{cause="data_loss"}`: 2, "replayed_events_total": c[2].At - m[2].At})
	r.term()

	e = r.run("  on_data_loss: continue")
	e.metrics(map[string]int64{
		`stopped_lanes{cause="data_loss"}`: 0, `recoveries_total{cause="data_loss"}`: 2, `lost_records_total{use="judge"}`: 70,
		`lost_records_total{use="replay"}`: missing0 + missing1, "replayed_events_total": c[0].At - within,
	})
	r.term()
	r.checkStopped(true)
	r.add(600)
	r.run("")
	r.verify(map[int32]hole{0: {from: c[0].At, to: c[0].At, fresh: within}, 1: {from: c[1].At, to: beyond, fresh: beyond}})
	r.term()
}

// TestDeletedUnderTheReader deletes input up to beyond the position of a lane that lags because its Redis is away. What the
// lane had read by then is judged; the rest is counted, once.
func TestDeletedUnderTheReader(t *testing.T) {
	proxy := consumertest.NewProxy(t, consumertest.Redis(t))
	r := newGoneRig(t, systemOptions{redis: proxy.Addr(), partitions: 1})
	r.redisExtra = "  read_timeout: 1s\n  dial_timeout: 1s"
	small := "  fetch_bytes_max: 10KiB\n"
	r.add(100)
	e := r.run(small)
	proxy.Refuse()
	r.events = consumertest.NewGenerator(consumertest.EventOptions{Seed: 7, Users: 400, UserFirst: 1000}) // Redis must be asked for them
	r.add(4000)
	e.WaitLog(readyTimeout, "redis failed, trying again")
	const end = 4000
	r.deleteBelow(0, end)
	proxy.Pass()
	e.waitProblem(0, "input was deleted before it was used", "0 records are missing for the states", "kafka.on_data_loss: continue goes on from 4000")
	var from, to, missing, unjudged int64
	problem := e.problem(0)
	if _, err := fmt.Sscanf(problem[strings.Index(problem, "of ["):], "of [%d, %d), %d records are missing for the states and %d were never judged", &from, &to, &missing, &unjudged); err != nil {
		t.Fatalf("%q: %v", problem, err)
	}
	if from <= 100 || from >= end || to != end || unjudged != end-from || r.offsets()[0].At != from {
		t.Errorf("of [%d, %d) %d unjudged, committed %d", from, to, unjudged, r.offsets()[0].At)
	}
	if n := strings.Count(e.Log(), "the position is not in the log"); n != 1 {
		t.Errorf("the reader lost its position %d times", n)
	}
	e.metrics(map[string]int64{`stopped_lanes{cause="data_loss"}`: 1, `lost_records_total{use="judge"}`: 0})
	r.term()
	e = r.run(small + "  on_data_loss: continue")
	e.metrics(map[string]int64{`lost_records_total{use="judge"}`: unjudged, `lost_records_total{use="replay"}`: 0, `recoveries_total{cause="data_loss"}`: 1})
	r.verify(map[int32]hole{0: {from: from, to: end, fresh: end}})

	// The same again, and this engine goes on by itself.
	proxy.Refuse()
	r.events = consumertest.NewGenerator(consumertest.EventOptions{Seed: 8, Users: 400, UserFirst: 2000})
	r.add(4000)
	r.await("Redis is missed", func() bool { return strings.Contains(e.problems(), "redis") })
	r.deleteBelow(0, 8000)
	proxy.Pass()
	r.await("the lane has gone on", func() bool { return r.offsets()[0].At == int64(len(r.ledger[0])) })
	e.WaitReady(readyTimeout)
	e.metrics(map[string]int64{`recoveries_total{cause="data_loss"}`: 2, `lost_records_total{use="replay"}`: 0, `stopped_lanes{cause="data_loss"}`: 0})
	r.term()
}

// TestTruncated has a committed offset beyond the end of the input, as after a broker has lost what it acknowledged.
func TestTruncated(t *testing.T) {
	r := newGoneRig(t, systemOptions{partitions: 1})
	r.add(300)
	r.run("")
	r.term()
	marked := strings.Replace(r.offsets()[0].Metadata, "offset=300", "offset=350", 1)
	r.setOffset(0, 350, marked)
	e := r.start("")
	e.waitProblem(0, "the committed offset 350 is beyond the end of the input, 300: the topic was truncated", "set the group's offset to 300")
	e.metrics(map[string]int64{`stopped_lanes{cause="truncated"}`: 1, `stopped_lanes{cause="data_loss"}`: 0})
	r.term()
	r.setOffset(0, 300, "")
	r.run("  on_offset_reset: rebuild")
	r.add(300)
	r.drain(readyTimeout)
	r.check(consumertest.CheckOptions{})
	r.term()
}

// TestRecreatedWhileStopped deletes the topic of a stopped engine and makes it again, with more partitions: none of the old
// offsets and states are used, also of users who have moved to another lane.
func TestRecreatedWhileStopped(t *testing.T) {
	r := newGoneRig(t, systemOptions{partitions: 2})
	r.add(600)
	r.run("")
	r.term()
	r.recreate(4)
	r.output += "2" // the sources of the old results are ambiguous from now on
	if err := consumertest.CreateTopics(r.context(time.Minute), r.brokers(), consumertest.TopicSpec{Name: r.output, Partitions: 4}); err != nil {
		t.Fatal(err)
	}
	r.produce(900, consumertest.EventOptions{Seed: 9, Users: 40})
	e := r.run("")
	e.WaitLog(readyTimeout, "the input topic was deleted and made again: its old offsets and states are ignored")
	e.metrics(map[string]int64{`recoveries_total{cause="recreated"}`: 2, `recoveries_total{cause="no_offset"}`: 0, "replayed_events_total": 0})
	r.term()
	r.run("")
	r.produce(300, consumertest.EventOptions{Seed: 10, Users: 40, TimeFirst: 2000})
	r.drain(readyTimeout)
	r.check(consumertest.CheckOptions{})
	r.term()
	r.checkStopped(true)
}

// TestRecreatedWhileRunning deletes the topic under engines and makes it again, with as many records at once. The engine
// must not go on at its old offset, neither one that waits for records nor one that waits for Redis and misses it all.
func TestRecreatedWhileRunning(t *testing.T) {
	for name, blocked := range map[string]bool{"idle": false, "waiting for Redis": true} {
		t.Run(name, func(t *testing.T) {
			proxy := consumertest.NewProxy(t, consumertest.Redis(t))
			r := newGoneRig(t, systemOptions{redis: proxy.Addr(), partitions: 1})
			r.redisExtra = "  read_timeout: 1s\n  dial_timeout: 1s"
			small := "  fetch_bytes_max: 10KiB\n"
			r.add(200)
			e := r.run(small)
			if blocked {
				proxy.Refuse()
				r.events = consumertest.NewGenerator(consumertest.EventOptions{Seed: 11, Users: 400, UserFirst: 1000})
				r.add(2000)
				e.WaitLog(readyTimeout, "redis failed, trying again")
			}
			r.recreate(1)
			r.produce(9000, consumertest.EventOptions{Seed: 12, Users: 40, UserFirst: 5000})
			proxy.Pass()
			code, ended := e.Wait(readyTimeout)
			if !ended || code != 1 {
				t.Fatalf("ended %t with code %d, want 1", ended, code)
			}
			e.WaitLog(time.Second, "the input topic was deleted and made again while the engine ran", "start the engine again")
			for offset, codes := range r.results()[0] {
				if len(codes) != 1 || offset >= int64(len(r.ledger[0])) {
					t.Fatalf("offset %d of the new topic was judged by the old engine: %v", offset, codes)
				}
			}
			old := r.results()[0]
			before := r.ledger.codes(0)
			for offset, codes := range old {
				if codes[0] != before[offset] {
					t.Fatalf("offset %d: %v, not %s of the old topic", offset, codes, before[offset])
				}
			}
			r.output += "2"
			if err := consumertest.CreateTopics(r.context(time.Minute), r.brokers(), consumertest.TopicSpec{Name: r.output, Partitions: 1}); err != nil {
				t.Fatal(err)
			}
			e = r.run("")
			e.metrics(map[string]int64{`recoveries_total{cause="recreated"}`: 1})
			if report := r.check(consumertest.CheckOptions{}); report.Events != 9000 {
				t.Errorf("%d events, want the 9000 of the new topic", report.Events)
			}
			r.term()
		})
	}
}

// TestOffsetsSet sets a group's offsets as kafka-consumer-groups --reset-offsets does: back in one lane, forward in another,
// to what they were in a third. The first two stop; rebuild accepts it, with right states.
func TestOffsetsSet(t *testing.T) {
	r := newGoneRig(t, systemOptions{partitions: 4})
	r.add(900)
	r.run("")
	r.term()
	c := r.offsets()
	r.add(900)
	r.setOffset(0, c[0].At-50, "")
	r.setOffset(1, c[1].At+60, "")
	r.setOffset(2, c[2].At, "")

	e := r.start("")
	e.waitProblem(0, fmt.Sprintf("%s/0: the committed offset %d was not set by Lapwing (metadata \"\"), back from %d", r.input, c[0].At-50, c[0].At),
		"kafka.on_offset_reset: rebuild", fmt.Sprintf("[%d, %d) is judged again", c[0].At-50, c[0].At), fmt.Sprintf("to undo it, set the offset to %d", c[0].At))
	e.waitProblem(1, fmt.Sprintf("the committed offset %d was not set by Lapwing (metadata \"\"), forward from %d", c[1].At+60, c[1].At),
		"kafka.on_offset_reset: rebuild", fmt.Sprintf("[%d, %d) is never judged", c[1].At, c[1].At+60), fmt.Sprintf("to undo it, set the offset to %d", c[1].At))
	r.await("the other lanes are judged", func() bool {
		now := r.offsets()
		return now[2].At >= int64(len(r.ledger[2])) && now[3].At >= int64(len(r.ledger[3]))
	})
	e.metrics(map[string]int64{
		`stopped_lanes{cause="foreign_offset"}`: 2, `recoveries_total{cause="foreign_offset"}`: 1, `stopped_lanes{cause="checkpoint_ahead"}`: 0,
	})
	r.term()

	e = r.run("  on_offset_reset: rebuild")
	e.metrics(map[string]int64{
		`stopped_lanes{cause="foreign_offset"}`: 0, `recoveries_total{cause="foreign_offset"}`: 2, `lost_records_total{use="rebuild"}`: 0,
		"replayed_events_total": c[0].At - 50 + c[1].At + 60,
	})
	r.term()
	r.checkStopped(true)
	r.add(900)
	r.run("") // the offsets are Lapwing's again
	report := r.compare(consumertest.CheckOptions{Repeats: true, Settle: 2 * time.Second})
	if report.Repeated != 50 || report.Lost != 60 || report.Wrong+report.Twice+report.Disorder != 0 {
		t.Errorf("want 50 repeated, 60 lost and nothing wrong: %v\n%s", report, strings.Join(report.Problems, "\n"))
	}
	r.term()
}

// TestOffsetsSetBackByMistake undoes what an operator has done, by the way that the message names: nothing is repeated.
func TestOffsetsSetBackByMistake(t *testing.T) {
	r := newGoneRig(t, systemOptions{partitions: 1})
	r.add(600)
	r.run("")
	r.term()
	r.setOffset(0, 200, "")
	e := r.start("")
	e.waitProblem(0, "the committed offset 200 was not set by Lapwing", "to undo it, set the offset to 600")
	r.term()
	r.setOffset(0, 600, "")
	e = r.run("")
	e.metrics(map[string]int64{`recoveries_total{cause="foreign_offset"}`: 1, "replayed_events_total": 0})
	r.add(300)
	r.drain(readyTimeout)
	r.term()

	// By a tool that keeps the metadata of another offset.
	r.setOffset(0, 850, r.offsets()[0].Metadata)
	e = r.start("")
	e.waitProblem(0, "the committed offset 850 was not set by Lapwing (its metadata is that of offset 900), back from 900", "set the offset to 900")
	r.term()
	r.setOffset(0, 900, "")
	r.run("")

	// After a crash nobody knows how far the offset was: within a flush.
	r.term()
	r.flush = "10m"
	r.run("")
	r.add(100)
	r.drain(readyTimeout)
	r.kill()
	r.setOffset(0, 100, "")
	e = r.start("")
	e.waitProblem(0, "back from 900 or up to one flush beyond", "set the offset to 900 and use kafka.on_offset_reset: resume")
	r.term()
	r.setOffset(0, 900, "")
	r.run("  on_offset_reset: resume")
	if report := r.check(consumertest.CheckOptions{Repeats: true}); report.Repeated != 100 {
		t.Errorf("%d results are repeated, want the 100 since the last flush", report.Repeated)
	}
	r.term()
}

// TestOffsetsWentBack has an older offset of Lapwing's own, as after a broker has lost what it acknowledged: the checkpoint
// is ahead.
func TestOffsetsWentBack(t *testing.T) {
	r := newGoneRig(t, systemOptions{partitions: 1})
	r.add(500)
	r.run("")
	r.term()
	older := r.offsets()[0]
	r.add(100)
	r.run("")
	r.term()
	r.setOffset(0, older.At, older.Metadata)
	e := r.start("")
	e.waitProblem(0, "the checkpoint in Redis, 600, is ahead of the committed offset 500", "wait if the broker has just restarted",
		"[500, 600) is judged again", "to undo it, set the offset to 600")
	e.metrics(map[string]int64{`stopped_lanes{cause="checkpoint_ahead"}`: 1, `stopped_lanes{cause="foreign_offset"}`: 0})
	r.term()
	e = r.run("  on_offset_reset: rebuild")
	e.metrics(map[string]int64{`recoveries_total{cause="checkpoint_ahead"}`: 1, "replayed_events_total": 500})
	r.add(300)
	r.drain(readyTimeout)
	if report := r.check(consumertest.CheckOptions{Repeats: true}); report.Repeated != 100 {
		t.Errorf("%d results are repeated, want 100", report.Repeated)
	}
	r.term()
}

// TestOffsetsExpired takes the group's offsets away: after a clean stop the engine goes on, after a crash it stops, and
// resume repeats what was judged since the last flush.
func TestOffsetsExpired(t *testing.T) {
	r := newGoneRig(t, systemOptions{partitions: 2})
	r.add(600)
	r.run("")
	r.term()
	r.deleteGroup()
	r.flush = "10m"
	e := r.run("")
	e.WaitLog(readyTimeout, "no committed offset: going on from the checkpoint")
	e.metrics(map[string]int64{
		`recoveries_total{cause="no_offset"}`: 2, `stopped_lanes{cause="no_offset"}`: 0, "replayed_events_total": 0, "events_total": 0,
	})
	r.check(consumertest.CheckOptions{})
	m := r.offsets()
	r.add(400)
	r.drain(readyTimeout)
	r.kill()
	c := r.offsets()
	r.deleteGroup()

	e = r.start("")
	for lane := range int32(2) {
		e.waitProblem(lane, fmt.Sprintf("%s/%d: the group has no committed offset although the checkpoint in Redis is %d", r.input, lane, m[lane].At),
			"wait if the broker has just restarted", fmt.Sprintf("kafka.on_offset_reset: resume goes on from %d and may repeat the results of one flush", m[lane].At))
	}
	e.metrics(map[string]int64{`stopped_lanes{cause="no_offset"}`: 2, "events_total": 0})
	r.term()

	e = r.run("  on_offset_reset: resume")
	repeated := c[0].At - m[0].At + c[1].At - m[1].At
	e.metrics(map[string]int64{`recoveries_total{cause="no_offset"}`: 2, "events_total": repeated})
	r.add(300)
	r.drain(readyTimeout)
	if report := r.check(consumertest.CheckOptions{Repeats: true}); int64(report.Repeated) != repeated || repeated != 400 {
		t.Errorf("%d results are repeated, want the %d since the last flush", report.Repeated, repeated)
	}
	r.term()
	r.checkStopped(true)
}

// TestCheckpointMissing deletes the group's keys in Redis: all of them, and only the lanes' while old states stay. The
// states are rebuilt from the input; what is no longer kept of it is counted.
func TestCheckpointMissing(t *testing.T) {
	r := newGoneRig(t, systemOptions{partitions: 2})
	r.add(600)
	r.run("")
	r.term()
	c := r.offsets()
	r.deleteKeys("*")
	e := r.run("")
	e.WaitLog(readyTimeout, "no checkpoint in Redis: states are rebuilt from what is kept")
	e.metrics(map[string]int64{
		`recoveries_total{cause="no_checkpoint"}`: 2, "replayed_events_total": 600, `lost_records_total{use="rebuild"}`: 0,
	})
	r.term()
	r.add(300)
	r.run("")
	r.check(consumertest.CheckOptions{})
	r.term()

	r.deleteBelow(1, c[1].At)
	r.deleteKeys("*lane:*")
	e = r.run("")
	e.WaitLog(readyTimeout, fmt.Sprintf("lost_rebuild=%d", c[1].At))
	e.metrics(map[string]int64{
		`recoveries_total{cause="no_checkpoint"}`: 2, "replayed_events_total": 900 - c[1].At, `lost_records_total{use="rebuild"}`: c[1].At,
		`lost_records_total{use="replay"}`: 0, `lost_records_total{use="judge"}`: 0, `recoveries_total{cause="data_loss"}`: 0,
	})
	judged := r.offsets()[1].At
	r.add(300)
	r.drain(readyTimeout)
	r.verify(map[int32]hole{1: {from: judged, to: judged, fresh: c[1].At}})
	r.term()
	r.checkStopped(true)
}
