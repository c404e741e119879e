package contract

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/lapwing/lapwing/rules"
)

// oracleEvent is an event as the oracle reads it.
type oracleEvent struct {
	typ, amount  string
	userID, time *big.Int // time in milliseconds
}

var (
	integerText = regexp.MustCompile(`^-?[0-9]+$`)
	amountText  = regexp.MustCompile(`^([0-9]+)(?:\.([0-9]+))?$`)
)

// oracle judges a value by the package documentation, with go-json-experiment for the JSON, regular
// expressions for the texts and math/big for the numbers. It shares no code with the decoder. Types
// are the default ones.
func oracle(value []byte, recordMillis int64, o DecoderOptions) (oracleEvent, Reason) {
	if len(value) > o.BytesMax {
		return oracleEvent{}, ReasonTooLarge
	}
	if len(value) >= 5 && value[0] == 0 {
		if !o.StripFrame {
			return oracleEvent{}, ReasonConfluentFramed
		}
		value = value[5:]
	}
	switch {
	case !utf8.Valid(value):
		return oracleEvent{}, ReasonNotUTF8
	case !jsontext.Value(value).IsValid(jsontext.AllowDuplicateNames(true)) || oracleDepth(value) > o.DepthMax:
		return oracleEvent{}, ReasonNotJSON
	case !jsontext.Value(value).IsValid():
		return oracleEvent{}, ReasonDuplicateMember
	case jsontext.Value(value).Kind() != '{':
		return oracleEvent{}, ReasonWrongType
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(value, &members); err != nil {
		panic(err)
	}
	known := []string{"type", "amount", "user_id", "time"}
	if o.TimeFromRecord {
		known = known[:3]
	}
	for _, want := range known {
		if _, ok := members[want]; !ok {
			return oracleEvent{}, ReasonMissingMember
		}
		for name := range members {
			if name != want && strings.EqualFold(name, want) {
				return oracleEvent{}, ReasonMissingMember
			}
		}
	}
	return oracleMembers(members, recordMillis, o)
}

// oracleMembers judges the members of an event that has them all.
func oracleMembers(members map[string]jsontext.Value, recordMillis int64, o DecoderOptions) (e oracleEvent, r Reason) {
	typ, amount := members["type"], members["amount"]
	if typ.Kind() != '"' || amount.Kind() != '"' && !(amount.Kind() == '0' && o.AcceptNumericAmount) ||
		!integerText.Match(members["user_id"]) || !o.TimeFromRecord && !integerText.Match(members["time"]) {
		return e, ReasonWrongType
	}
	if err := json.Unmarshal(typ, &e.typ); err != nil {
		panic(err)
	}
	e.amount = string(amount)
	if amount.Kind() == '"' {
		if err := json.Unmarshal(amount, &e.amount); err != nil {
			panic(err)
		}
	}
	if !slices.Contains([]string{"deposit", "withdraw"}, e.typ) {
		return e, ReasonUnknownType
	}
	parts := amountText.FindStringSubmatch(e.amount)
	if parts == nil {
		return e, ReasonAmountFormat
	}
	if len(parts[1]) > 18 || len(parts[2]) > 18 || strings.Trim(e.amount, "0.") == "" {
		return e, ReasonAmountRange
	}
	var ok bool
	e.userID, ok = new(big.Int).SetString(string(members["user_id"]), 10)
	if !ok || members["user_id"][0] == '-' || e.userID.BitLen() > 63 {
		return e, ReasonUserIDRange
	}
	e.time = big.NewInt(recordMillis)
	if !o.TimeFromRecord {
		if members["time"][0] == '-' {
			return e, ReasonTimeRange
		}
		e.time.SetString(string(members["time"]), 10)
		if !o.TimeMillis {
			e.time.Mul(e.time, big.NewInt(1000))
		}
	}
	end := new(big.Int).Exp(big.NewInt(10), big.NewInt(14), nil)
	if e.time.Sign() < 0 || e.time.Cmp(end) >= 0 {
		return e, ReasonTimeRange
	}
	if o.MaxFuture > 0 {
		latest := new(big.Int).Add(big.NewInt(recordMillis), big.NewInt(o.MaxFuture.Milliseconds()))
		if recordMillis < 0 || e.time.Cmp(latest) > 0 {
			return e, ReasonTimeRange
		}
	}
	return e, ""
}

// oracleDepth returns how deep arrays and objects nest in a valid value.
func oracleDepth(value []byte) int {
	d := jsontext.NewDecoder(bytes.NewReader(value), jsontext.AllowDuplicateNames(true))
	depth := 0
	for {
		if _, err := d.ReadToken(); err != nil {
			return depth
		}
		depth = max(depth, d.StackDepth())
	}
}

// FuzzDecode compares the decoder with the oracle, on reasons and on values. The bits of setting are
// the options.
func FuzzDecode(f *testing.F) {
	for _, tt := range refusals {
		if len(tt.value) < 1000 {
			f.Add([]byte(tt.value), uint8(0), int64(1600000000000))
			f.Add([]byte(tt.value), uint8(0xff), int64(1600000000000))
			f.Add([]byte(framed(7, tt.value)), uint8(32), int64(1600000000000))
		}
	}
	f.Fuzz(func(t *testing.T, value []byte, setting uint8, recordMillis int64) {
		o := DecoderOptions{
			TimeMillis:          setting&1 != 0,
			TimeFromRecord:      setting&2 != 0,
			AcceptNumericAmount: setting&4 != 0,
			StripFrame:          setting&32 != 0,
			BytesMax:            BytesMaxDefault,
			DepthMax:            DepthMaxDefault,
		}
		if setting&8 != 0 {
			o.MaxFuture = time.Hour
		}
		if setting&16 != 0 {
			o.BytesMax, o.DepthMax = 100, 3
		}
		before := bytes.Clone(value)
		var ev Event
		r := NewDecoder(o).Decode(value, recordMillis, &ev)
		want, reason := oracle(value, recordMillis, o)
		if !bytes.Equal(value, before) {
			t.Fatal("the value was changed")
		}
		if r != nil {
			checkDetail(t, r)
			if r.Reason != reason {
				t.Fatalf("refused by %v, the oracle says %q", r, reason)
			}
			return
		}
		if reason != "" {
			t.Fatalf("accepted, the oracle says %s", reason)
		}
		compareEvents(t, &ev, want)
	})
}

func compareEvents(t *testing.T, ev *Event, want oracleEvent) {
	t.Helper()
	if got := rules.DefaultTypes().Name(ev.Type); got != want.typ {
		t.Errorf("type %q, want %q", got, want.typ)
	}
	if string(ev.AmountText) != want.amount {
		t.Errorf("amount text %q, want %q", ev.AmountText, want.amount)
	}
	got, ok := new(big.Rat).SetString(ev.Amount.String())
	exact, ok2 := new(big.Rat).SetString(want.amount)
	if !ok || !ok2 || got.Cmp(exact) != 0 {
		t.Errorf("amount %v, want %s", ev.Amount, want.amount)
	}
	if want.userID.Cmp(big.NewInt(ev.UserID)) != 0 {
		t.Errorf("user_id %d, want %v", ev.UserID, want.userID)
	}
	if seconds := new(big.Int).Quo(want.time, big.NewInt(1000)); seconds.Cmp(big.NewInt(int64(ev.Time))) != 0 {
		t.Errorf("time %d, want %v", ev.Time, seconds)
	}
}

// FuzzMinimalResult checks that whatever is cut is the three members that the oracle reads.
func FuzzMinimalResult(f *testing.F) {
	f.Add([]byte(`{"alert":true,"alert_codes":[1100,30],"user_id":3,"event":{}}`))
	f.Add([]byte(`{"alert":false,"alert_codes":[],"user_id":3}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		minimal, err := MinimalResult(value)
		if err != nil || !jsontext.Value(value).IsValid() {
			return
		}
		type three struct {
			Alert  bool           `json:"alert"`
			Codes  jsontext.Value `json:"alert_codes"`
			UserID jsontext.Value `json:"user_id"`
		}
		var got, want three
		if err := json.Unmarshal(minimal, &got, json.RejectUnknownMembers(true)); err != nil {
			t.Fatalf("%s: %v", minimal, err)
		}
		if err := json.Unmarshal(value, &want); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if got.Alert != want.Alert || !bytes.Equal(got.Codes, want.Codes) || !bytes.Equal(got.UserID, want.UserID) {
			t.Errorf("cut %s to %s", value, minimal)
		}
	})
}

// FuzzSource checks that a source that is taken is written as it was read.
func FuzzSource(f *testing.F) {
	f.Add([]byte("events/3/17"))
	f.Add([]byte("events/03/+1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSource(text)
		if err == nil && (!bytes.Equal(AppendSource(nil, s), text) || s.Topic == "" || s.Partition < 0 || s.Offset < 0) {
			t.Errorf("%q read as %+v", text, s)
		}
	})
}

// FuzzCutDeadLetter checks that what is kept fits, is a beginning, and is all of a record that fits.
func FuzzCutDeadLetter(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), uint16(10), uint16(1040))
	f.Fuzz(func(t *testing.T, key, value []byte, headersSize, limit uint16) {
		c := CutDeadLetter(key, value, int(headersSize), int(limit))
		if !bytes.HasPrefix(key, c.Key) || !bytes.HasPrefix(value, c.Value) {
			t.Fatalf("kept %q and %q", c.Key, c.Value)
		}
		size := len(c.Key) + len(c.Value)
		if !c.DropHeaders {
			size += int(headersSize)
		}
		if size > max(int(limit)-DeadLetterReserve, 0) {
			t.Errorf("kept %d bytes of %d", size, limit)
		}
		whole := len(c.Key) == len(key) && len(c.Value) == len(value) && !c.DropHeaders
		if whole != (c.Text == "") {
			t.Errorf("whole: %v, text %q", whole, c.Text)
		}
	})
}

// TestOracle holds the oracle against the table, so that a fault they share with the decoder shows.
func TestOracle(t *testing.T) {
	for _, tt := range refusals {
		o := tt.options
		if o.BytesMax == 0 {
			o.BytesMax = BytesMaxDefault
		}
		if o.DepthMax == 0 {
			o.DepthMax = DepthMaxDefault
		}
		if _, reason := oracle([]byte(tt.value), 1600000000000, o); reason != tt.reason {
			t.Errorf("%s: the oracle says %q, want %s", tt.name, reason, tt.reason)
		}
	}
	framed := binary.BigEndian.AppendUint32([]byte{0}, 7)
	if _, reason := oracle(framed, 0, DecoderOptions{BytesMax: 100}); reason != ReasonConfluentFramed {
		t.Errorf("got %q", reason)
	}
}
