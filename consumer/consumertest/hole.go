package consumertest

import (
	"fmt"
	"math/bits"
	"slices"
)

// A candidate of a lane is an offset from which its users' pasts may begin: 0 is that of the whole input, the others are
// the beginnings of the input that the lane may have found at a start. A set of them is kept as bits.
//
// A lane that starts without the input that its states need drops the states of all its users at once and replays what is
// left. Whether it needed that input depends on its checkpoint, which only the engine knows; so from such a start on there
// are two candidates, and the results tell which it was. It is one for all users of the lane, and for all that follows.
type candidates uint64

const candidatesMax = 64

// hole is a start of a lane that found the beginning of its input gone.
type hole struct {
	from, to int64 // the committed offset at which it started is one of [from, to]
	start    int64 // where the input began
	bit      candidates
}

// exact: nothing is left of what the states need, so that all users are fresh; [from, start) was never judged.
func (h *hole) exact() bool { return h.start > h.from }

// holes are those of one lane, in the order in which they happened.
type holes struct {
	all    []hole
	starts []int64 // by candidate: where pasts begin
}

// add notes one more. An error is a fault of the caller.
func (s *holes) add(from, to, start int64) error {
	if from < 0 || to < from || start < 0 || start > from && to != from {
		return fmt.Errorf("hole [%d, %d] with input from %d on makes no sense", from, to, start)
	}
	if n := len(s.all); n > 0 && (from < s.all[n-1].from || start < s.all[n-1].start) {
		return fmt.Errorf("hole [%d, %d] with input from %d on comes after one at %d from %d on", from, to, start, s.all[n-1].from, s.all[n-1].start)
	}
	if len(s.starts) == 0 {
		s.starts = append(s.starts, 0)
	}
	i := slices.Index(s.starts[1:], start) + 1
	if i == 0 {
		if len(s.starts) == candidatesMax {
			return fmt.Errorf("more than %d beginnings of one lane's input", candidatesMax-1)
		}
		i = len(s.starts)
		s.starts = append(s.starts, start)
	}
	s.all = append(s.all, hole{from: from, to: to, start: start, bit: 1 << i})
	return nil
}

// fork is an event of which a lane's candidates expect different results.
type fork struct {
	options []option
	found   int    // which option's result was found; -1: none
	where   string // of the result that was found
}

// option is the result that some candidates expect.
type option struct {
	of     candidates
	digest uint64
	codes  uint8
	silent bool
}

// settle follows the candidates of a lane through its forks, in their order. It calls wrong for each fork whose finding
// fits none of the candidates that were left, and returns those that are left at the end.
func (l *lane) settle(wrong func(offset int64, f *fork, left candidates)) candidates {
	left, dead := candidates(1), candidates(0)
	crossed := 0
	cross := func(offset int64) {
		for ; crossed < len(l.holes.all) && l.holes.all[crossed].from <= offset; crossed++ {
			if h := &l.holes.all[crossed]; h.exact() {
				left, dead = h.bit, h.bit-1 // earlier ones are over, later ones may come
			} else {
				left |= h.bit &^ dead
			}
		}
	}
	offsets := make([]int64, 0, len(l.forks))
	for offset := range l.forks {
		offsets = append(offsets, offset)
	}
	slices.Sort(offsets)
	for _, offset := range offsets {
		cross(offset)
		for i := range l.holes.all[:crossed] {
			if h := &l.holes.all[i]; offset <= h.to {
				left |= h.bit &^ dead // it may have started just now
			}
		}
		f := l.forks[offset]
		var fits candidates
		for i, o := range f.options {
			if i == f.found || f.found < 0 && o.silent {
				fits |= o.of
			}
		}
		switch {
		case left&fits != 0:
			left &= fits
		case f.found >= 0 || fits != 0:
			wrong(offset, f, left)
		}
	}
	cross(l.end())
	return left
}

// text names candidates for a message: where the pasts begin.
func (s *holes) text(of candidates) string {
	var from []int64
	for of != 0 {
		i := bits.TrailingZeros64(uint64(of))
		of &^= 1 << i
		if i < len(s.starts) {
			from = append(from, s.starts[i])
		}
	}
	return fmt.Sprintf("users begin at %v", from)
}
