package consumertest

import (
	"fmt"
	"slices"
)

// The built-in rules and what an engine keeps for them, repeated from their text: the judge must not take them from what
// it judges.
const (
	codeLarge, codeStreak, codeRising, codeWindow = 1100, 30, 300, 123

	amountLimit  = 100
	streakCount  = 3
	risingCount  = 3
	sumLimit     = 200
	windowLength = 30 // seconds
	lateness     = 30 // seconds: how late an event may be for its window to be whole
	horizon      = windowLength + lateness
	lastKept     = 8    // amounts of a rising run
	secondsMax   = 4096 // of one type; beyond, an engine merges, which the model does not
)

// codes are the built-in rules' in the order in which they are evaluated. A set of them is kept as bits in this order.
var codes = [...]int{codeLarge, codeStreak, codeRising, codeWindow}

// Bits of the codes.
const (
	bitLarge uint8 = 1 << iota
	bitStreak
	bitRising
	bitWindow
)

// Places of the types in history.types: the order of the default types.
const (
	typeDeposit = iota
	typeWithdraw
)

var typeNames = [...]string{typeDeposit: "deposit", typeWithdraw: "withdraw"}

// history is what matters of a user's past: the state that the rules define, kept in the most naive way. It grows by one
// event at a time.
type history struct {
	run     uint64 // how many events of runType the past ends with
	runType int
	types   [len(typeNames)]typeHistory
	tag     int64 // the offset after the last event; 0: there was none
}

// typeHistory is a user's past of one type.
type typeHistory struct {
	latest  int64
	rising  uint64   // length of the strictly rising run that ends with the last event; 0: there was no event
	last    []money  // the last amounts of that run, oldest first
	seconds []second // ascending by time
}

// second is the events of one type with one time.
type second struct {
	time  int64
	sum   money
	count uint64
}

// verdict is what the rules say about an event, with the numbers that an alert must show. It is valid until the next event.
type verdict struct {
	codes  uint8
	lateBy int64
	run    uint64
	rising uint64
	last   []money
	sum    money
	count  uint64
}

// judge adds an event to the past. An error says that the model does not reach so far.
func (h *history) judge(typ int, amount money, at, offset int64) (verdict, error) {
	if h.run > 0 && h.runType == typ {
		h.run++
	} else {
		h.run, h.runType = 1, typ
	}
	h.tag = offset + 1
	t := &h.types[typ]
	var v verdict
	if t.rising > 0 && at < t.latest {
		v.lateBy = t.latest - at
	} else {
		t.latest = at
	}
	t.rise(amount)
	if err := t.keep(amount, at); err != nil {
		return v, err
	}
	if typ == typeWithdraw {
		if amount.cmp(wholeMoney(amountLimit)) > 0 {
			v.codes |= bitLarge
		}
		if v.run = h.run; h.run >= streakCount {
			v.codes |= bitStreak
		}
		return v, nil
	}
	if v.rising, v.last = t.rising, t.last; t.rising >= risingCount {
		v.codes |= bitRising
	}
	for _, s := range t.seconds {
		if at-windowLength < s.time && s.time <= at {
			v.sum, v.count = v.sum.add(s.sum), v.count+s.count
		}
	}
	if v.sum.cmp(wholeMoney(sumLimit)) > 0 {
		v.codes |= bitWindow
	}
	return v, nil
}

func (t *typeHistory) rise(amount money) {
	if t.rising > 0 && amount.cmp(t.last[len(t.last)-1]) > 0 {
		t.rising++
	} else {
		t.rising, t.last = 1, t.last[:0]
	}
	if t.last = append(t.last, amount); len(t.last) > lastKept {
		t.last = slices.Delete(t.last, 0, 1)
	}
}

// keep forgets the events at or before at - horizon, and counts one.
func (t *typeHistory) keep(amount money, at int64) error {
	gone := 0
	for gone < len(t.seconds) && t.seconds[gone].time <= at-horizon {
		gone++
	}
	t.seconds = slices.Delete(t.seconds, 0, gone)
	i := len(t.seconds)
	for i > 0 && t.seconds[i-1].time > at {
		i--
	}
	if i > 0 && t.seconds[i-1].time == at {
		t.seconds[i-1].sum, t.seconds[i-1].count = t.seconds[i-1].sum.add(amount), t.seconds[i-1].count+1
		return nil
	}
	if t.seconds = slices.Insert(t.seconds, i, second{time: at, count: 1, sum: amount}); len(t.seconds) > secondsMax {
		return fmt.Errorf("consumertest: more than %d seconds are kept: the model does not reach so far", secondsMax)
	}
	return nil
}

// equal reports whether no event that may come tells the two apart, nor the stored state.
func (h *history) equal(o *history) bool {
	if h.run != o.run || h.runType != o.runType || h.tag != o.tag {
		return false
	}
	for i := range h.types {
		a, b := &h.types[i], &o.types[i]
		if a.latest != b.latest || a.rising != b.rising || !slices.Equal(a.last, b.last) || !slices.Equal(a.seconds, b.seconds) {
			return false
		}
	}
	return true
}
