package contract

import (
	"strconv"
	"unicode/utf8"
)

// kind is the kind of a JSON value. Integers are told from other numbers because an event's integers
// must be written as such.
type kind uint8

const (
	kindNone kind = iota
	kindNull
	kindBool
	kindString
	kindInteger // a number without fraction and exponent
	kindNumber  // any other number
	kindArray
	kindObject
)

func (k kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "a string", "an integer",
		"a number with fraction or exponent", "an array", "an object"}[k]
}

// token is where a value stands in the input: the bytes from start to before end, for a string
// without its quotes. An escaped string has at least one backslash.
type token struct {
	start, end int
	kind       kind
	escaped    bool
}

// member is one of the members of an event, in the order in which they are checked.
type member uint8

const (
	memberType member = iota
	memberAmount
	memberUserID
	memberTime
	memberCount
)

var memberNames = [memberCount]string{"type", "amount", "user_id", "time"}

func (m member) String() string { return memberNames[m] }

// scanner checks that an input is one JSON value (RFC 8259, unique member names) and finds the members
// of an event in it. The input must be UTF-8. Methods that scan take the offset of the first byte of
// what they scan and return the offset after it, or failed after noting problem and problemAt.
type scanner struct {
	input    []byte
	depthMax int
	required member // the members before this one must be there, in their own case

	members  [memberCount]token // kindNone: not there
	folded   []byte             // the first name that equals a required member's but for case; nil: none
	foldedAt int
	foldedOf member

	problem   string // why the input is not JSON
	problemAt int

	duplicate   []byte // the first name that its object already had; valid if duplicateAt >= 0
	duplicateAt int

	objects int
	names   []name // of all members but those found in members
	text    []byte // decoded names, aliased by names
}

const failed = -1

// scan scans an input and reports the kind of the whole value; false means that it is not JSON, for
// the reason in problem. Duplicates are in duplicate and duplicateAt.
func (s *scanner) scan(input []byte) (kind, bool) {
	s.input = input
	s.members = [memberCount]token{}
	s.folded = nil
	s.duplicateAt = failed
	s.objects = 0

	whole, pos := s.value(s.space(0), 0)
	if pos != failed {
		if pos = s.space(pos); pos < len(input) {
			pos = s.fail(pos, "more after the end of the value")
		}
	}
	if len(s.names) > 0 && pos != failed {
		s.findDuplicate()
	}
	if len(s.names) > 0 || len(s.text) > 0 {
		s.forgetNames()
	}
	return whole.kind, pos != failed
}

// fail notes why the input is not JSON.
func (s *scanner) fail(offset int, problem string) int {
	s.problem, s.problemAt = problem, offset
	return failed
}

// unexpected notes that the byte at an offset, or the end of the input there, is not what must follow.
func (s *scanner) unexpected(pos int, expected string) int {
	if pos >= len(s.input) {
		return s.fail(pos, "the value ends where "+expected+" must follow")
	}
	end := pos + 1
	for end < len(s.input) && !utf8.RuneStart(s.input[end]) {
		end++
	}
	return s.fail(pos, echo(s.input[pos:end])+" stands where "+expected+" must follow")
}

// space skips white space. Most inputs have none, so its callers look for what they expect first.
func (s *scanner) space(pos int) int {
	for pos < len(s.input) {
		switch s.input[pos] {
		case ' ', '\t', '\n', '\r':
			pos++
		default:
			return pos
		}
	}
	return pos
}

// next skips white space and then one byte if it is c, and reports whether it was there.
func (s *scanner) next(pos int, c byte) (int, bool) {
	if pos < len(s.input) && s.input[pos] == c {
		return pos + 1, true
	}
	pos = s.space(pos)
	if pos < len(s.input) && s.input[pos] == c {
		return pos + 1, true
	}
	return pos, false
}

// value scans any value. Depth is the number of arrays and objects around it.
func (s *scanner) value(pos, depth int) (token, int) {
	if pos >= len(s.input) {
		return token{}, s.unexpected(pos, "a value")
	}
	t := token{start: pos}
	switch c := s.input[pos]; {
	case c == '"':
		return s.string(pos)
	case c == '-' || '0' <= c && c <= '9':
		return s.number(pos)
	case c == '{':
		t.kind = kindObject
		t.end = s.object(pos, depth+1)
	case c == '[':
		t.kind = kindArray
		t.end = s.array(pos, depth+1)
	case c == 't':
		t.kind = kindBool
		t.end = s.literal(pos, "true")
	case c == 'f':
		t.kind = kindBool
		t.end = s.literal(pos, "false")
	case c == 'n':
		t.kind = kindNull
		t.end = s.literal(pos, "null")
	default:
		t.end = s.unexpected(pos, "a value")
	}
	return t, t.end
}

func (s *scanner) literal(pos int, text string) int {
	end := pos + len(text)
	if end > len(s.input) || string(s.input[pos:end]) != text {
		return s.fail(pos, "a bare word that is not "+text)
	}
	return end
}

// object scans an object. At depth 1 the event's members are noted.
func (s *scanner) object(pos, depth int) int {
	if depth > s.depthMax {
		return s.fail(pos, "nested deeper than "+strconv.Itoa(s.depthMax))
	}
	object := s.objects
	s.objects++
	pos, empty := s.next(pos+1, '}')
	if empty {
		return pos
	}
	for {
		if pos >= len(s.input) || s.input[pos] != '"' {
			return s.unexpected(pos, "a member name")
		}
		if pos = s.member(pos, object, depth); pos == failed {
			return failed
		}
		var ok bool
		if pos, ok = s.next(pos, ','); ok {
			pos = s.space(pos)
			continue
		}
		if pos, ok = s.next(pos, '}'); ok {
			return pos
		}
		return s.unexpected(pos, "a comma or the object's end")
	}
}

// member scans a member, from its name's quote on.
func (s *scanner) member(pos, object, depth int) int {
	start := pos + 1
	m := memberCount
	if depth == 1 {
		m = plainMember(s.input[start:])
	}
	var text []byte
	if m < memberCount {
		pos = start + len(memberNames[m]) + 1
		text = s.input[start : pos-1]
	} else {
		var label token
		if label, pos = s.string(pos); pos == failed {
			return failed
		}
		if text = s.input[label.start:label.end]; label.escaped {
			text = s.decodeName(text)
		}
		if depth == 1 {
			m = memberOf(text)
		}
	}
	pos, ok := s.next(pos, ':')
	if !ok {
		return s.unexpected(pos, "a colon")
	}
	var t token
	if t, pos = s.value(s.space(pos), depth); pos == failed {
		return failed
	}
	if m == memberCount {
		if depth == 1 {
			s.noteFolded(text, start)
		}
		s.names = append(s.names, name{text: text, object: object, offset: start})
		return pos
	}
	if s.members[m].kind != kindNone {
		s.noteDuplicate(text, start)
		return pos
	}
	s.members[m] = t
	return pos
}

// plainMember returns the event's member whose name and closing quote a text begins with. It spares
// nearly every name of an event the scan as a string; memberCount says no more than that it cannot.
func plainMember(text []byte) member {
	switch {
	case len(text) < len(`user_id"`):
		return memberCount
	case string(text[:5]) == `type"`:
		return memberType
	case string(text[:5]) == `time"`:
		return memberTime
	case string(text[:7]) == `amount"`:
		return memberAmount
	case string(text[:8]) == `user_id"`:
		return memberUserID
	}
	return memberCount
}

// memberOf returns the event's member of a name, or memberCount.
func memberOf(text []byte) member {
	for m, known := range memberNames {
		if string(text) == known {
			return member(m)
		}
	}
	return memberCount
}

// array scans an array.
func (s *scanner) array(pos, depth int) int {
	if depth > s.depthMax {
		return s.fail(pos, "nested deeper than "+strconv.Itoa(s.depthMax))
	}
	pos, ok := s.next(pos+1, ']')
	if ok {
		return pos
	}
	for {
		if _, pos = s.value(pos, depth); pos == failed {
			return failed
		}
		if pos, ok = s.next(pos, ','); ok {
			pos = s.space(pos)
			continue
		}
		if pos, ok = s.next(pos, ']'); ok {
			return pos
		}
		return s.unexpected(pos, "a comma or the array's end")
	}
}

// number scans a number.
func (s *scanner) number(pos int) (token, int) {
	t := token{start: pos, kind: kindInteger}
	if s.input[pos] == '-' {
		pos++
	}
	first := pos
	if pos = s.digits(pos); pos == first {
		return t, s.unexpected(pos, "a digit")
	}
	if s.input[first] == '0' && pos > first+1 {
		return t, s.fail(first, "a number with a leading zero")
	}
	if pos < len(s.input) && s.input[pos] == '.' {
		t.kind = kindNumber
		first = pos + 1
		if pos = s.digits(first); pos == first {
			return t, s.unexpected(pos, "a digit")
		}
	}
	if pos < len(s.input) && s.input[pos]|0x20 == 'e' {
		t.kind = kindNumber
		first = pos + 1
		if first < len(s.input) && (s.input[first] == '+' || s.input[first] == '-') {
			first++
		}
		if pos = s.digits(first); pos == first {
			return t, s.unexpected(pos, "a digit")
		}
	}
	t.end = pos
	return t, pos
}

func (s *scanner) digits(pos int) int {
	for pos < len(s.input) && s.input[pos]-'0' <= 9 {
		pos++
	}
	return pos
}
