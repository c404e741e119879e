package contract

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lapwing/lapwing/rules"
)

// plain is the design's example of an event.
const plain = `{"type":"deposit","amount":"42.00","user_id":1,"time":10}`

// eventWith returns the plain event with one member's value replaced by other JSON text.
func eventWith(member, value string) string {
	values := map[string]string{"type": `"deposit"`, "amount": `"42.00"`, "user_id": "1", "time": "10"}
	values[member] = value
	return fmt.Sprintf(`{"type":%s,"amount":%s,"user_id":%s,"time":%s}`,
		values["type"], values["amount"], values["user_id"], values["time"])
}

// eventOf returns the plain event with members before its own.
func eventOf(members string) string { return "{" + members + "," + plain[1:] }

// framed returns a value as a schema registry's serializer writes it.
func framed(schema uint32, value string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, schema)) + value
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// checkDetail checks what every detail promises.
func checkDetail(t *testing.T, r *Refusal) {
	t.Helper()
	if r.Detail == "" || len(r.Detail) > DetailBytesMax || !utf8.ValidString(r.Detail) {
		t.Errorf("detail of %d bytes: %q", len(r.Detail), r.Detail)
	}
	if i := strings.IndexFunc(r.Detail, func(c rune) bool { return !unicode.IsPrint(c) }); i >= 0 {
		t.Errorf("unprintable at byte %d of detail %q", i, r.Detail)
	}
}

// accepted has a case for each way in which an event may be written.
var accepted = []struct {
	name    string
	value   string
	options DecoderOptions
	typ     rules.Type
	amount  string
	userID  int64
	time    rules.Time
}{
	{"plain", plain, DecoderOptions{}, 0, "42.00", 1, 10},
	{"withdraw", eventWith("type", `"withdraw"`), DecoderOptions{}, 1, "42.00", 1, 10},
	{"other order", `{"time":10,"user_id":1,"amount":"42.00","type":"deposit"}`, DecoderOptions{}, 0, "42.00", 1, 10},
	{"white space", " \t\r\n{ \"type\" : \"deposit\" ,\n\"amount\":\"42.00\",\"user_id\": 1\t,\"time\":10 } \r\n", DecoderOptions{}, 0, "42.00", 1, 10},
	{"zeros", eventWith("time", "0"), DecoderOptions{}, 0, "42.00", 1, 0},
	{"user 0", eventWith("user_id", "0"), DecoderOptions{}, 0, "42.00", 0, 10},
	{"user above 2^53", eventWith("user_id", "9007199254740993"), DecoderOptions{}, 0, "42.00", 9007199254740993, 10},
	{"largest user", eventWith("user_id", "9223372036854775807"), DecoderOptions{}, 0, "42.00", math.MaxInt64, 10},
	{"largest time", eventWith("time", "99999999999"), DecoderOptions{}, 0, "42.00", 1, 99999999999},
	{"smallest amount", eventWith("amount", `"0.000000000000000001"`), DecoderOptions{}, 0, "0.000000000000000001", 1, 10},
	{"largest amount", eventWith("amount", `"999999999999999999.999999999999999999"`), DecoderOptions{}, 0, "999999999999999999.999999999999999999", 1, 10},
	{"unknown members", eventOf(`"id":"x","tags":["a",{"b":null,"a":[true,false,-1.5e+3]}],"":{}`), DecoderOptions{}, 0, "42.00", 1, 10},
	{"equal names in different objects", eventOf(`"a":{"x":1},"b":{"x":1,"type":2},"c":[{"x":1},{"x":1}]`), DecoderOptions{}, 0, "42.00", 1, 10},
	{"other case in a nested object", eventOf(`"a":{"Type":1,"TIME":2}`), DecoderOptions{}, 0, "42.00", 1, 10},
	{"escaped names", `{"\u0074ype":"deposit","am\u006Funt":"42.00","user\u005fid":1,"t\u0069me":10}`, DecoderOptions{}, 0, "42.00", 1, 10},
	{"escaped values", eventWith("amount", `"\u0034\u0032.00"`), DecoderOptions{}, 0, "42.00", 1, 10},
	{"escaped type", eventWith("type", `"wit\u0068draw"`), DecoderOptions{}, 1, "42.00", 1, 10},
	{"surrogate pair", eventOf(`"note":"\ud83d\uDE00 \"\\\/\b\f\n\r\t"`), DecoderOptions{}, 0, "42.00", 1, 10},
	{"UTF-8", eventOf(`"nöte":"żółw 🐢"`), DecoderOptions{}, 0, "42.00", 1, 10},
	{"deepest", eventOf(`"a":` + nested(DepthMaxDefault-1)), DecoderOptions{}, 0, "42.00", 1, 10},
	{"largest", plain + strings.Repeat(" ", BytesMaxDefault-len(plain)), DecoderOptions{}, 0, "42.00", 1, 10},
	{"numeric amount", eventWith("amount", "42.00"), DecoderOptions{AcceptNumericAmount: true}, 0, "42.00", 1, 10},
	{"numeric amount beyond float64", eventWith("amount", "9007199254740993.10"), DecoderOptions{AcceptNumericAmount: true}, 0, "9007199254740993.10", 1, 10},
	{"text where numbers are accepted", plain, DecoderOptions{AcceptNumericAmount: true}, 0, "42.00", 1, 10},
	{"milliseconds", eventWith("time", "1700000000999"), DecoderOptions{TimeMillis: true}, 0, "42.00", 1, 1700000000},
	{"largest milliseconds", eventWith("time", "99999999999999"), DecoderOptions{TimeMillis: true}, 0, "42.00", 1, 99999999999},
	{"time of the record", `{"type":"deposit","amount":"42.00","user_id":1}`, DecoderOptions{TimeFromRecord: true}, 0, "42.00", 1, 1600000000},
	{"time of the record beside any other", eventWith("time", `{"Time":"soon"}`), DecoderOptions{TimeFromRecord: true}, 0, "42.00", 1, 1600000000},
	{"time of the record beside another case", eventOf(`"Time":7`), DecoderOptions{TimeFromRecord: true}, 0, "42.00", 1, 1600000000},
	{"as far ahead as allowed", eventWith("time", "1600000060"), DecoderOptions{MaxFuture: time.Minute}, 0, "42.00", 1, 1600000060},
	{"smaller limits", plain, DecoderOptions{BytesMax: len(plain), DepthMax: 1}, 0, "42.00", 1, 10},
	{"behind a frame", framed(258, plain), DecoderOptions{StripFrame: true}, 0, "42.00", 1, 10},
	{"behind a frame, not plain", framed(0, " "+plain), DecoderOptions{StripFrame: true}, 0, "42.00", 1, 10},
	{"behind a frame, with all options", framed(1<<32-1, eventWith("amount", "42.00")), DecoderOptions{StripFrame: true, AcceptNumericAmount: true, TimeMillis: true}, 0, "42.00", 1, 0},
	{"without the frame that may be there", plain, DecoderOptions{StripFrame: true}, 0, "42.00", 1, 10},
	{"as large as allowed, with its frame", framed(1, plain), DecoderOptions{StripFrame: true, BytesMax: len(plain) + 5}, 0, "42.00", 1, 10},
}

func TestDecodeAccepts(t *testing.T) {
	for _, tt := range accepted {
		t.Run(tt.name, func(t *testing.T) {
			var ev Event
			if r := NewDecoder(tt.options).Decode([]byte(tt.value), 1600000000000, &ev); r != nil {
				t.Fatalf("refused: %v", r)
			}
			if ev.Type != tt.typ || string(ev.AmountText) != tt.amount || ev.UserID != tt.userID || ev.Time != tt.time {
				t.Errorf("got type %d, amount %q, user %d, time %d", ev.Type, ev.AmountText, ev.UserID, ev.Time)
			}
			want, err := rules.ParseAmount([]byte(tt.amount))
			if err != nil || ev.Amount.Cmp(want) != 0 {
				t.Errorf("amount %v, want %v (%v)", ev.Amount, want, err)
			}
		})
	}
}

// refusals has a case for each reason that a decoder gives, and for each trap known of an input.
var refusals = []struct {
	name    string
	value   string
	options DecoderOptions
	reason  Reason
	detail  string // a part of the detail
}{
	{"one byte too many", plain + strings.Repeat(" ", BytesMaxDefault-len(plain)+1), DecoderOptions{}, ReasonTooLarge, "65537 bytes, at most 65536"},
	{"one byte more than an own limit", plain + " ", DecoderOptions{BytesMax: len(plain)}, ReasonTooLarge, "58 bytes, at most 57"},

	{"schema registry framing", "\x00\x00\x00\x01\x02" + plain, DecoderOptions{}, ReasonConfluentFramed, "schema id 258, expected plain JSON; events.strip_frame"},
	{"framing alone", "\x00\xff\xff\xff\xff", DecoderOptions{}, ReasonConfluentFramed, "schema id 4294967295"},
	{"framing cut short", "\x00\x00\x00\x01", DecoderOptions{}, ReasonNotJSON, `"\x00" stands where a value must follow at byte 0`},
	{"too large with its frame", framed(1, plain), DecoderOptions{StripFrame: true, BytesMax: len(plain) + 4}, ReasonTooLarge, "62 bytes, at most 61"},
	{"nothing behind the frame", framed(7, ""), DecoderOptions{StripFrame: true}, ReasonNotJSON, "at byte 0 (bytes counted after the frame of schema id 7)"},
	{"a frame behind the frame", framed(7, framed(7, plain)), DecoderOptions{StripFrame: true}, ReasonNotJSON, `"\x00" stands where a value must follow at byte 0`},
	{"a frame cut short that is stripped", "\x00\x00\x00\x01", DecoderOptions{StripFrame: true}, ReasonNotJSON, `at byte 0`},
	{"Avro behind the frame", framed(7, "\x0edeposit\x0a42.00\x02\x14"), DecoderOptions{StripFrame: true}, ReasonNotJSON, "schema id 7"},
	{"the longest detail behind the frame", framed(1<<32-1, eventWith("amount", `"`+strings.Repeat(`\u0000`, 40)+`"`)), DecoderOptions{StripFrame: true}, ReasonAmountFormat, "schema id 4294967295)"},
	{"no event behind the frame", framed(258, eventWith("user_id", "-1")), DecoderOptions{StripFrame: true}, ReasonUserIDRange, "at byte 45 must be 0 to 9223372036854775807 (bytes"},

	{"byte FF", eventWith("type", "\"\xff\""), DecoderOptions{}, ReasonNotUTF8, "byte 9"},
	{"overlong slash", eventOf("\"a\":\"\xc0\xaf\""), DecoderOptions{}, ReasonNotUTF8, "byte 6"},
	{"raw surrogate", eventOf("\"a\":\"\xed\xa0\x80\""), DecoderOptions{}, ReasonNotUTF8, "byte 6"},
	{"truncated rune in a name", eventOf("\"\xc3\":1"), DecoderOptions{}, ReasonNotUTF8, "byte 2"},
	{"UTF-16", "\xff\xfe{\x00}\x00", DecoderOptions{}, ReasonNotUTF8, "byte 0"},
	{"true U+FFFD before the bad byte", "\"\ufffd\xff\"", DecoderOptions{}, ReasonNotUTF8, "byte 4"},

	{"no bytes", "", DecoderOptions{}, ReasonNotJSON, "ends where a value must follow at byte 0"},
	{"blank line", " \n", DecoderOptions{}, ReasonNotJSON, "byte 2"},
	{"words", "hello", DecoderOptions{}, ReasonNotJSON, "byte 0"},
	{"byte order mark", "\xef\xbb\xbf" + plain, DecoderOptions{}, ReasonNotJSON, `"\ufeff" stands`},
	{"end within", plain[:len(plain)-1], DecoderOptions{}, ReasonNotJSON, "byte 56"},
	{"two values", plain + plain, DecoderOptions{}, ReasonNotJSON, "more after the end of the value at byte 57"},
	{"form feed", "\f" + plain, DecoderOptions{}, ReasonNotJSON, `"\f" stands where a value must follow at byte 0`},
	{"no-break space", plain + "\u00a0", DecoderOptions{}, ReasonNotJSON, "more after the end"},
	{"trailing comma", `{"type":"deposit",}`, DecoderOptions{}, ReasonNotJSON, "a member name"},
	{"trailing comma in an array", eventOf(`"a":[1,]`), DecoderOptions{}, ReasonNotJSON, "a value"},
	{"no comma", `{"a":1 "b":2}`, DecoderOptions{}, ReasonNotJSON, "a comma or the object's end"},
	{"no comma in an array", `[1 2]`, DecoderOptions{}, ReasonNotJSON, "a comma or the array's end"},
	{"no colon", `{"a" 1}`, DecoderOptions{}, ReasonNotJSON, "a colon"},
	{"single quotes", `{'type':'deposit'}`, DecoderOptions{}, ReasonNotJSON, "a member name"},
	{"comment", plain + "// x", DecoderOptions{}, ReasonNotJSON, "byte 57"},
	{"leading zeros", eventWith("user_id", "007"), DecoderOptions{}, ReasonNotJSON, "leading zero"},
	{"leading zero after minus", eventWith("user_id", "-01"), DecoderOptions{}, ReasonNotJSON, "leading zero"},
	{"plus", eventWith("user_id", "+1"), DecoderOptions{}, ReasonNotJSON, "a value"},
	{"point without digits", eventWith("user_id", "1."), DecoderOptions{}, ReasonNotJSON, "a digit"},
	{"exponent without digits", eventWith("user_id", "1e+"), DecoderOptions{}, ReasonNotJSON, "a digit"},
	{"minus alone", eventWith("user_id", "-"), DecoderOptions{}, ReasonNotJSON, "a digit"},
	{"NaN", eventWith("amount", "NaN"), DecoderOptions{}, ReasonNotJSON, "a value"},
	{"Infinity", eventWith("amount", "-Infinity"), DecoderOptions{}, ReasonNotJSON, "a digit"},
	{"wrong word", eventWith("amount", "nul"), DecoderOptions{}, ReasonNotJSON, "not null"},
	{"raw tab in a string", eventWith("type", "\"de\tposit\""), DecoderOptions{}, ReasonNotJSON, "control character in a string at byte 11"},
	{"raw NUL in a name", "{\"a\x00\":1}", DecoderOptions{}, ReasonNotJSON, "control character"},
	{"unknown escape", eventOf(`"a":"\x41"`), DecoderOptions{}, ReasonNotJSON, "unknown escape"},
	{"short escape", eventOf(`"a":"\u12"`), DecoderOptions{}, ReasonNotJSON, "four hexadecimal digits"},
	{"escape of no hex", eventOf(`"a":"\u12G4"`), DecoderOptions{}, ReasonNotJSON, "four hexadecimal digits"},
	{"escape at the end", `"\`, DecoderOptions{}, ReasonNotJSON, "without end"},
	{"string without end", `{"type`, DecoderOptions{}, ReasonNotJSON, "without end"},
	{"lone high surrogate", eventOf(`"a":"\ud83d"`), DecoderOptions{}, ReasonNotJSON, "without its partner"},
	{"lone low surrogate", eventOf(`"a":"\ude00"`), DecoderOptions{}, ReasonNotJSON, "without its partner"},
	{"high surrogate twice", eventOf(`"a":"\ud83d\ud83d"`), DecoderOptions{}, ReasonNotJSON, "without its partner"},
	{"one too deep", eventOf(`"a":` + nested(DepthMaxDefault)), DecoderOptions{}, ReasonNotJSON, "nested deeper than"},
	{"an object too deep", eventOf(`"a":{"b":{}}`), DecoderOptions{DepthMax: 2}, ReasonNotJSON, "nested deeper than"},
	{"deep without end", strings.Repeat("[", 60000), DecoderOptions{}, ReasonNotJSON, "nested deeper than"},

	{"member twice", eventOf(`"amount":"1"`), DecoderOptions{}, ReasonDuplicateMember, `"amount" again at byte`},
	{"escaped member twice", eventOf(`"\u0074ype":"withdraw"`), DecoderOptions{}, ReasonDuplicateMember, `"type" again`},
	{"unknown member twice", eventOf(`"x":1,"y":2,"\u0078":1`), DecoderOptions{}, ReasonDuplicateMember, `"x" again at byte 14`},
	{"nested member twice", eventOf(`"a":[{"x":{"b":1,"b":2}}]`), DecoderOptions{}, ReasonDuplicateMember, `"b" again`},
	{"first duplicate of several", eventOf(`"b":{"z":1,"z":2},"a":1,"a":1,"time":1`), DecoderOptions{}, ReasonDuplicateMember, `"z" again at byte 13`},
	{"escaped surrogate pair beside its rune", eventOf(`"😀!":1,"\ud83d\ude00!":1`), DecoderOptions{}, ReasonDuplicateMember, `"😀!" again`},
	{"duplicates outside an object", `[{"a":1,"a":1}]`, DecoderOptions{}, ReasonDuplicateMember, `"a" again`},
	{"time twice though it is ignored", eventOf(`"time":1`), DecoderOptions{TimeFromRecord: true}, ReasonDuplicateMember, `"time" again`},

	{"no members", `{}`, DecoderOptions{}, ReasonMissingMember, `"type" is missing`},
	{"no amount", `{"type":"deposit","user_id":1,"time":10}`, DecoderOptions{}, ReasonMissingMember, `"amount"`},
	{"no user_id", `{"type":"deposit","amount":"1","time":10}`, DecoderOptions{}, ReasonMissingMember, `"user_id"`},
	{"no time", `{"type":"deposit","amount":"1","user_id":10}`, DecoderOptions{}, ReasonMissingMember, `"time"`},
	{"members one level down", `{"event":` + plain + `}`, DecoderOptions{}, ReasonMissingMember, `"type"`},
	{"other case", strings.Replace(plain, "type", "Type", 1), DecoderOptions{}, ReasonMissingMember, `"Type" at byte 2 must be written "type"`},
	{"other case beside the right one", eventOf(`"USER_ID":2`), DecoderOptions{}, ReasonMissingMember, `"USER_ID" at byte 2 must be written "user_id"`},
	{"long s, which folds to s", eventOf(`"uſer_id":2`), DecoderOptions{}, ReasonMissingMember, `must be written "user_id"`},
	{"other case after one that is ignored", eventOf(`"Time":1,"Type":2`), DecoderOptions{TimeFromRecord: true}, ReasonMissingMember, `"Type" at byte 11`},
	{"escaped other case", eventOf(`"\u0054ype":2`), DecoderOptions{}, ReasonMissingMember, `"Type"`},

	{"null", "null", DecoderOptions{}, ReasonWrongType, "is null, must be an object"},
	{"array", "[" + plain + "]", DecoderOptions{}, ReasonWrongType, "is an array, must be an object"},
	{"string", `"deposit"`, DecoderOptions{}, ReasonWrongType, "is a string"},
	{"boolean", "true", DecoderOptions{}, ReasonWrongType, "is a boolean"},
	{"type null", eventWith("type", "null"), DecoderOptions{}, ReasonWrongType, `"type" at byte 8 is null, must be a string`},
	{"type number", eventWith("type", "1"), DecoderOptions{}, ReasonWrongType, "is an integer, must be a string"},
	{"amount number", eventWith("amount", "42.00"), DecoderOptions{}, ReasonWrongType, "must be a string"},
	{"amount object", eventWith("amount", "{}"), DecoderOptions{AcceptNumericAmount: true}, ReasonWrongType, "is an object, must be a string or a number"},
	{"user_id string", eventWith("user_id", `"1"`), DecoderOptions{}, ReasonWrongType, "is a string, must be an integer"},
	{"user_id with fraction", eventWith("user_id", "1.0"), DecoderOptions{}, ReasonWrongType, "is a number with fraction or exponent"},
	{"user_id with exponent", eventWith("user_id", "1e3"), DecoderOptions{}, ReasonWrongType, "is a number with fraction or exponent"},
	{"user_id array", eventWith("user_id", "[1]"), DecoderOptions{}, ReasonWrongType, "is an array"},
	{"time string", eventWith("time", `"10"`), DecoderOptions{}, ReasonWrongType, `"time"`},
	{"time with fraction", eventWith("time", "10.5"), DecoderOptions{}, ReasonWrongType, `"time"`},

	{"unknown type", eventWith("type", `"transfer"`), DecoderOptions{}, ReasonUnknownType, `"transfer" at byte 9`},
	{"type of other case", eventWith("type", `"Deposit"`), DecoderOptions{}, ReasonUnknownType, `"Deposit"`},
	{"empty type", eventWith("type", `""`), DecoderOptions{}, ReasonUnknownType, `""`},
	{"long type", eventWith("type", `"`+strings.Repeat("ü", 1000)+`"`), DecoderOptions{}, ReasonUnknownType, strings.Repeat("ü", 16) + `"...`},
	{"unprintable type", eventWith("type", `"`+strings.Repeat(`\u0000`, 40)+`"`), DecoderOptions{}, ReasonUnknownType, `\x00"...`},

	{"amount empty", eventWith("amount", `""`), DecoderOptions{}, ReasonAmountFormat, `amount ""`},
	{"amount with plus", eventWith("amount", `"+1"`), DecoderOptions{}, ReasonAmountFormat, `"+1"`},
	{"amount negative", eventWith("amount", `"-1"`), DecoderOptions{}, ReasonAmountFormat, `"-1"`},
	{"amount with exponent", eventWith("amount", `"1e3"`), DecoderOptions{}, ReasonAmountFormat, `"1e3"`},
	{"amount without whole part", eventWith("amount", `".5"`), DecoderOptions{}, ReasonAmountFormat, `".5"`},
	{"amount without fraction", eventWith("amount", `"5."`), DecoderOptions{}, ReasonAmountFormat, `"5."`},
	{"amount with comma", eventWith("amount", `"1,50"`), DecoderOptions{}, ReasonAmountFormat, `"1,50"`},
	{"amount with space", eventWith("amount", `" 1"`), DecoderOptions{}, ReasonAmountFormat, `" 1"`},
	{"amount in other digits", eventWith("amount", `"４２"`), DecoderOptions{}, ReasonAmountFormat, `"４２"`},
	{"amount number with exponent", eventWith("amount", "1e2"), DecoderOptions{AcceptNumericAmount: true}, ReasonAmountFormat, `"1e2"`},
	{"amount number negative", eventWith("amount", "-1"), DecoderOptions{AcceptNumericAmount: true}, ReasonAmountFormat, `"-1"`},

	{"amount zero", eventWith("amount", `"0.00"`), DecoderOptions{}, ReasonAmountRange, `"0.00"`},
	{"amount number zero", eventWith("amount", "0"), DecoderOptions{AcceptNumericAmount: true}, ReasonAmountRange, `"0"`},
	{"amount of 19 digits", eventWith("amount", `"1000000000000000000"`), DecoderOptions{}, ReasonAmountRange, "at most 18 digits"},
	{"amount of 19 places", eventWith("amount", `"0.0000000000000000001"`), DecoderOptions{}, ReasonAmountRange, "at most 18 digits"},

	{"user_id negative", eventWith("user_id", "-1"), DecoderOptions{}, ReasonUserIDRange, `user_id "-1" at byte 45`},
	{"user_id minus zero", eventWith("user_id", "-0"), DecoderOptions{}, ReasonUserIDRange, `"-0"`},
	{"user_id 2^63", eventWith("user_id", "9223372036854775808"), DecoderOptions{}, ReasonUserIDRange, "0 to 9223372036854775807"},
	{"user_id 2^64+1", eventWith("user_id", "18446744073709551617"), DecoderOptions{}, ReasonUserIDRange, `"18446744073709551617"`},

	{"time negative", eventWith("time", "-1"), DecoderOptions{}, ReasonTimeRange, "must not be negative"},
	{"time in milliseconds", eventWith("time", "1700000000000"), DecoderOptions{}, ReasonTimeRange, "looks like milliseconds"},
	{"time at the bound", eventWith("time", "100000000000"), DecoderOptions{}, ReasonTimeRange, "looks like milliseconds"},
	{"time beyond 64 bits", eventWith("time", strings.Repeat("9", 200)), DecoderOptions{}, ReasonTimeRange, "looks like milliseconds"},
	{"time in microseconds", eventWith("time", "100000000000000"), DecoderOptions{TimeMillis: true}, ReasonTimeRange, "looks like microseconds"},
	{"a second too far ahead", eventWith("time", "1600000061"), DecoderOptions{MaxFuture: time.Minute}, ReasonTimeRange, "61000 ms after"},
	{"a millisecond too far ahead", eventWith("time", "1600000060001"), DecoderOptions{MaxFuture: time.Minute, TimeMillis: true}, ReasonTimeRange, "60001 ms after"},
}

func TestDecodeRefuses(t *testing.T) {
	given := map[Reason]bool{ReasonWrongPartition: true}
	for _, tt := range refusals {
		given[tt.reason] = true
		t.Run(tt.name, func(t *testing.T) {
			var ev Event
			r := NewDecoder(tt.options).Decode([]byte(tt.value), 1600000000000, &ev)
			if r == nil {
				t.Fatalf("accepted as %+v", ev)
			}
			if r.Reason != tt.reason || !strings.Contains(r.Detail, tt.detail) {
				t.Errorf("got %v, want %s with %q", r, tt.reason, tt.detail)
			}
			checkDetail(t, r)
		})
	}
	for _, r := range Reasons() {
		if !given[r] {
			t.Errorf("no case for %s", r)
		}
	}
}

// TestDecodeRefusesRecordTime has the refusals that depend on the record's timestamp.
func TestDecodeRefusesRecordTime(t *testing.T) {
	fromRecord, future := DecoderOptions{TimeFromRecord: true}, DecoderOptions{MaxFuture: time.Hour}
	tests := []struct {
		name    string
		options DecoderOptions
		millis  int64
		reason  Reason
	}{
		{"from a record without", fromRecord, -1, ReasonTimeRange},
		{"from a record at the bound", fromRecord, TimeMillisEnd, ReasonTimeRange},
		{"from a record below the bound", fromRecord, TimeMillisEnd - 1, ""},
		{"from a record at 0", fromRecord, 0, ""},
		{"against a record without", future, -1, ReasonTimeRange},
		{"against a record long ago", future, 0, ""},
		{"against a record at the end of time", future, math.MaxInt64, ""},
		{"against nothing", DecoderOptions{}, -1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ev Event
			r := NewDecoder(tt.options).Decode([]byte(plain), tt.millis, &ev)
			switch {
			case r == nil && tt.reason != "":
				t.Errorf("accepted, want %s", tt.reason)
			case r != nil && r.Reason != tt.reason:
				t.Errorf("got %v, want %q", r, tt.reason)
			case r != nil:
				checkDetail(t, r)
			}
		})
	}
}

// TestDecodeOrder makes values that are wrong in every way from some reason on, and mends one way after
// the other: the reason must move on in the fixed order.
func TestDecodeOrder(t *testing.T) {
	steps := []struct {
		reason Reason
		value  string
	}{
		{ReasonTooLarge, "\x00\x00\x00\x00\x01\xff" + strings.Repeat(" ", 200)},
		{ReasonConfluentFramed, "\x00\x00\x00\x00\x01\xff{\"x\":1,\"x\":2"},
		{ReasonNotUTF8, "{\"x\":1,\"x\":2,\"\xff\":"},
		{ReasonNotJSON, `{"x":1,"x":2,"type":7`},
		{ReasonDuplicateMember, `{"x":1,"x":2,"type":7}`},
		{ReasonMissingMember, `{"type":7,"amount":"x","user_id":-1}`},
		{ReasonWrongType, `{"type":"x","amount":"x","user_id":-1,"time":"x"}`},
		{ReasonUnknownType, `{"type":"x","amount":"x","user_id":-1,"time":-1}`},
		{ReasonAmountFormat, `{"type":"deposit","amount":"x","user_id":-1,"time":-1}`},
		{ReasonAmountRange, `{"type":"deposit","amount":"0","user_id":-1,"time":-1}`},
		{ReasonUserIDRange, `{"type":"deposit","amount":"1","user_id":-1,"time":-1}`},
		{ReasonTimeRange, `{"type":"deposit","amount":"1","user_id":1,"time":-1}`},
	}
	d := NewDecoder(DecoderOptions{BytesMax: 100})
	var order []Reason
	for _, step := range steps {
		var ev Event
		r := d.Decode([]byte(step.value), 0, &ev)
		if r == nil || r.Reason != step.reason {
			t.Errorf("%q: got %v, want %s", step.value, r, step.reason)
		}
		order = append(order, step.reason)
	}
	if want := append(order, ReasonWrongPartition); !slices.Equal(Reasons(), want) {
		t.Errorf("Reasons() = %v, want %v", Reasons(), want)
	}
}

// TestDecodeKeepsNothing decodes with one decoder what left traces in it before.
func TestDecodeKeepsNothing(t *testing.T) {
	d := NewDecoder(DecoderOptions{})
	for _, tt := range refusals {
		var ev Event
		d.Decode([]byte(tt.value), 0, &ev)
		if r := d.Decode([]byte(plain), 0, &ev); r != nil {
			t.Fatalf("after %q: %v", tt.name, r)
		}
		if r := d.Decode([]byte(`{"x":1,"\u0079":2}`), 0, &ev); r == nil || r.Reason != ReasonMissingMember {
			t.Fatalf("after %q: got %v", tt.name, r)
		}
	}
}

// TestDecodeManyMembers has as many distinct members as fit, and checks that a decoder does not keep
// the memory that they, or many events with escaped names, took.
func TestDecodeManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"\u0061":1`)
	n := 0
	for ; b.Len() < BytesMaxDefault-100; n++ {
		fmt.Fprintf(&b, `,"%c%x":1`, 'f'+n%16, n)
	}
	d := NewDecoder(DecoderOptions{})
	var ev Event
	if r := d.Decode([]byte(b.String()+"}"), 0, &ev); r == nil || r.Reason != ReasonMissingMember {
		t.Errorf("%d distinct members: got %v", n, r)
	}
	if r := d.Decode([]byte(b.String()+`,"a":2}`), 0, &ev); r == nil || r.Reason != ReasonDuplicateMember {
		t.Errorf("one of %d members twice: got %v", n, r)
	}
	for range 10_000 {
		if r := d.Decode([]byte(`{"\u0074ype":"deposit","amount":"1","user_id":1,"time":1}`), 0, &ev); r != nil {
			t.Fatal(r)
		}
	}
	if cap(d.scanner.names) > keptNames || cap(d.scanner.text) > keptText {
		t.Errorf("kept room for %d names and %d bytes of text", cap(d.scanner.names), cap(d.scanner.text))
	}
}

// TestDecodeAmountTextStays checks that an event outlives the next call of the decoder.
func TestDecodeAmountTextStays(t *testing.T) {
	d := NewDecoder(DecoderOptions{})
	var a, b Event
	for i, ev := range []*Event{&a, &b} {
		value := eventWith("amount", fmt.Sprintf(`"\u003%d.5"`, i+1))
		if r := d.Decode([]byte(value), 0, ev); r != nil {
			t.Fatal(r)
		}
	}
	if string(a.AmountText) != "1.5" || string(b.AmountText) != "2.5" {
		t.Errorf("got %q and %q", a.AmountText, b.AmountText)
	}
	value := []byte(plain)
	if r := d.Decode(value, 0, &a); r != nil {
		t.Fatal(r)
	}
	value[strings.Index(plain, "42")] = '7'
	if string(a.AmountText) != "72.00" {
		t.Errorf("AmountText %q does not alias the value", a.AmountText)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	d := NewDecoder(DecoderOptions{StripFrame: true})
	var ev Event
	for _, value := range []string{plain, eventOf(`"a":1,"b":{"c":[1,2],"d":null},"e":"\n"`), framed(7, plain)} {
		bytes := []byte(value)
		n := testing.AllocsPerRun(100, func() {
			if r := d.Decode(bytes, 0, &ev); r != nil {
				t.Fatal(r)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", value, n)
		}
	}
}

func TestRefusalError(t *testing.T) {
	if got := (&Refusal{Reason: ReasonWrongPartition}).Error(); got != "wrong_partition" {
		t.Errorf("got %q", got)
	}
	var err error = &Refusal{Reason: ReasonNotJSON, Detail: "at byte 0"}
	if got := err.Error(); got != "not_json: at byte 0" {
		t.Errorf("got %q", got)
	}
}

// TestPlain says which events take the short way, and that those beside them take the other one: to the same event, or to a
// refusal.
func TestPlain(t *testing.T) {
	d := NewDecoder(DecoderOptions{})
	for _, c := range []struct {
		value        string
		plain, whole bool
	}{
		{usual, true, true},
		{`{"type": "withdraw", "amount": "1042.50", "user_id": 123456, "time": 1700000000}`, true, true}, // Python's json
		{`{"user_id":0,"amount":"0.1","type":"deposit","time":0}`, true, true},
		{`{"time":10,"type":"deposit","amount":"999999999999999999.999999999999999999","user_id":999999999999999999}`, true, true},
		{`{"time":10,"type":"deposit","amount":"1","user_id":9223372036854775807}`, false, true},
		{`{"time":99999999999,"type":"deposit","amount":"1","user_id":1}`, true, true},
		{`{"time":100000000000,"type":"deposit","amount":"1","user_id":1}`, false, false},
		{`{"time":010,"type":"deposit","amount":"1","user_id":1}`, false, false},
		{`{"time":1.0,"type":"deposit","amount":"1","user_id":1}`, false, false},
		{`{"time":1,"type":"deposit","amount":"01","user_id":1}`, true, true},
		{`{"time":1,"type":"deposit","amount":"0.0","user_id":1}`, false, false},
		{`{"time":1,"type":"deposit","amount":"-1","user_id":1}`, false, false},
		{`{"time":1,"type":"deposit","amount":"1","user_id":-1}`, false, false},
		{`{"time":1,"type":"deposit","amount":"1","user_id":1,"time":1}`, false, false},
		{`{"time":1,"type":"deposit","amount":"1"}`, false, false},
		{`{"time":1,"type":"deposit","amount":"1","user_id":1,}`, false, false},
		{`{"time":1,"type":"deposit","amount":"1","user_id":1} `, false, true},
		{`{"time":1,"type":"deposit","amount":"1","user_id":1}}`, false, false},
		{`{"time":1,"type":"deposit","amount":"1","user_id":1,"x":null}`, false, true},
		{`{"time":1,"type":"d\u0065posit","amount":"1","user_id":1}`, false, true},
		{`{"time":1,"type":"deposits","amount":"1","user_id":1}`, false, false},
		{`{"time":1,"type":"deposit","amount":"1","user_id":1`, false, false},
		{`{"time":`, false, false},
		{`{`, false, false},
		{``, false, false},
	} {
		var short, long Event
		plain := d.plain([]byte(c.value), &short)
		d.plainly = false
		refusal := d.Decode([]byte(c.value), 0, &long)
		if plain != c.plain || (refusal == nil) != c.whole {
			t.Errorf("%s: plain %t, want %t; refusal %v, an event: %t", c.value, plain, c.plain, refusal, c.whole)
		}
		if plain && refusal == nil && (short.Event != long.Event || string(short.AmountText) != string(long.AmountText)) {
			t.Errorf("%s: %+v, and the whole way %+v", c.value, short, long)
		}
	}
}
