package contract

import (
	"bytes"
	"cmp"
	"slices"
)

// name is a member name whose duplicates are looked for when the whole input was scanned.
type name struct {
	text   []byte // decoded; aliases the input if it had no escapes
	object int    // which object of the input, in order of appearance
	offset int    // of the name's first byte in the input
}

// keptNames and keptText are the capacities that a scanner keeps for the next input. More of them are
// only ever needed by hostile input, and there is a scanner for each lane.
const (
	keptNames = 256
	keptText  = 4 << 10
)

// noteFolded keeps the first unknown name that a reader which ignores case takes for a required member.
func (s *scanner) noteFolded(text []byte, offset int) {
	if s.folded != nil {
		return
	}
	for m, known := range memberNames[:s.required] {
		if bytes.EqualFold(text, []byte(known)) {
			s.folded, s.foldedAt, s.foldedOf = text, offset, member(m)
			return
		}
	}
}

// decodeName decodes a member name that has escapes. Names decoded before stay valid: if text grows
// into new memory, they keep the old.
func (s *scanner) decodeName(text []byte) []byte {
	start := len(s.text)
	s.text = appendUnescaped(s.text, text)
	return s.text[start:]
}

// noteDuplicate keeps the duplicate that comes first in the input.
func (s *scanner) noteDuplicate(text []byte, offset int) {
	if s.duplicateAt == failed || offset < s.duplicateAt {
		s.duplicate, s.duplicateAt = text, offset
	}
}

// findDuplicate looks for two equal names of one object. It sorts, so that many names cost no
// quadratic time, and allocates nothing.
func (s *scanner) findDuplicate() {
	slices.SortFunc(s.names, func(a, b name) int {
		return cmp.Or(cmp.Compare(a.object, b.object), bytes.Compare(a.text, b.text), cmp.Compare(a.offset, b.offset))
	})
	for i := 1; i < len(s.names); i++ {
		a, b := &s.names[i-1], &s.names[i]
		if a.object == b.object && bytes.Equal(a.text, b.text) {
			s.noteDuplicate(b.text, b.offset)
		}
	}
}

// forgetNames makes the scanner ready for the next input without holding on to this one.
func (s *scanner) forgetNames() {
	if cap(s.names) > keptNames {
		s.names = nil
	}
	clear(s.names)
	s.names = s.names[:0]
	if cap(s.text) > keptText {
		s.text = nil
	}
	s.text = s.text[:0]
}
