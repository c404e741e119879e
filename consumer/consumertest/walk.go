package consumertest

import (
	"fmt"
	"slices"
)

// walk judges the events of a lane, other than those of ordered users, in their order, under each of the lane's candidates at once. Pasts of a user that are
// equal are kept once, so that a hole costs little as soon as it is forgotten.
type walk struct {
	x       *expectation
	l       *lane
	people  map[int64]*person
	only    int64 // a user; judging all others is left out
	all     bool  // nobody is left out
	live    candidates
	dead    candidates // none of them can be true any more
	begun   candidates // the beginnings that are reached
	crossed int        // holes that are passed
	skipTo  int64      // what is below was deleted before it was judged
	judged  []judged
}

// person is a user in all the pasts that may be the true one.
type person struct {
	begun candidates // those that some past is for
	pasts []past
}

type past struct {
	of candidates
	history
}

// judged is a verdict and the live candidates that agree on it.
type judged struct {
	of candidates
	verdict
}

func (x *expectation) walk(l *lane) *walk {
	return &walk{x: x, l: l, people: map[int64]*person{}, all: true, live: 1, begun: 1}
}

// to walks up to an offset and calls visit for each record that is there, for events with what the rules say.
func (w *walk) to(end int64, visit func(offset int64, e *expected, found []judged)) error {
	for offset := w.l.first; offset < min(end, w.l.end()); offset++ {
		w.cross(offset)
		e := w.l.at(offset)
		if e.outcome == outcomeNone {
			continue
		}
		w.judged = w.judged[:0]
		if e.is(flagEvent) && !e.is(flagOrdered) && offset >= w.skipTo && (w.all || e.user == w.only) {
			if err := w.event(offset, e); err != nil {
				return fmt.Errorf("%w: %s/%d/%d, user %d", err, w.l.topic, w.l.partition, offset, e.user)
			}
		}
		visit(offset, e, w.judged)
	}
	w.cross(min(end, w.l.end()))
	return nil
}

// cross notes what is true from an offset on.
func (w *walk) cross(offset int64) {
	h := &w.l.holes
	for ; w.crossed < len(h.all) && h.all[w.crossed].from <= offset; w.crossed++ {
		if at := &h.all[w.crossed]; at.exact() {
			w.live, w.dead, w.skipTo = at.bit, at.bit-1, at.start
		} else {
			w.live |= at.bit &^ w.dead
		}
	}
	for i := 1; i < len(h.starts); i++ {
		if h.starts[i] <= offset {
			w.begun |= 1 << i
		}
	}
}

// event judges one event in all pasts of its user.
func (w *walk) event(offset int64, e *expected) error {
	p := w.people[e.user]
	if p == nil {
		p = new(person)
		w.people[e.user] = p
	}
	if fresh := w.begun &^ p.begun &^ w.dead; fresh != 0 {
		p.begun |= fresh
		p.pasts = append(p.pasts, past{of: fresh})
	}
	kept := p.pasts[:0]
	for i := range p.pasts {
		if p.pasts[i].of &^= w.dead; p.pasts[i].of == 0 {
			continue
		}
		kept = append(kept, p.pasts[i])
		now := &kept[len(kept)-1]
		v, err := now.judge(int(e.typ), w.x.amounts[e.amount].value, e.time, offset)
		if err != nil {
			return err
		}
		if of := now.of & w.live; of != 0 {
			w.judged = append(w.judged, judged{of: of, verdict: v})
		}
	}
	clear(p.pasts[len(kept):])
	p.pasts = kept
	p.merge()
	return nil
}

// merge keeps equal pasts once.
func (p *person) merge() {
	for i := 1; i < len(p.pasts); i++ {
		for j := range i {
			if p.pasts[j].equal(&p.pasts[i].history) {
				p.pasts[j].of |= p.pasts[i].of
				p.pasts = slices.Delete(p.pasts, i, i+1)
				i--
				break
			}
		}
	}
}

// of returns the user's past of a candidate; nil: the user has none.
func (w *walk) of(user int64, candidate candidates) *history {
	if p := w.people[user]; p != nil {
		for i := range p.pasts {
			if p.pasts[i].of&candidate != 0 {
				return &p.pasts[i].history
			}
		}
	}
	return nil
}
