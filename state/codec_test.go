package state_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// amount reads an amount of a test.
func amount(t testing.TB, text string) rules.Amount {
	t.Helper()
	a, err := rules.ParseAmount([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// typesOf makes a table of types.
func typesOf(t testing.TB, names ...string) *rules.Types {
	t.Helper()
	types, err := rules.NewTypes(names...)
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// typical is a user with two types and a few events in the window.
func typical(t testing.TB) state.Record {
	return state.Record{Lane: 3, Tag: 1000, State: rules.UserState{
		RunType: 1, RunLength: 2,
		Types: []rules.TypeState{
			{
				Type: 0, Latest: 1_700_000_000, Rising: 2, Last: []rules.Amount{amount(t, "10"), amount(t, "15.5")},
				Series: []rules.Series{{Resolution: 1, Buckets: []rules.Bucket{{Time: 1_700_000_000, Sum: amount(t, "25.50"), Count: 2}}}},
			},
			{
				Type: 1, Latest: 1_700_000_004, Rising: 1, Last: []rules.Amount{amount(t, "7")},
				Series: []rules.Series{{Resolution: 1, Buckets: []rules.Bucket{{Time: 1_700_000_004, Sum: amount(t, "7"), Count: 1}}}},
			},
		},
	}}
}

// full is a user with all that a record can hold: a type by name, a second
// series, a sum beyond 128 bits, the largest numbers.
func full(t testing.TB) state.Record {
	sum := amount(t, "999999999999999999.999999999999999999")
	for range 70 {
		sum = sum.Add(sum)
	}
	last := make([]rules.Amount, 8)
	for i := range last {
		last[i] = amount(t, string('1'+rune(i))+".001")
	}
	return state.Record{Incarnation: math.MaxUint32, Lane: math.MaxInt32, Tag: math.MaxInt64, State: rules.UserState{
		RunType: 2, RunLength: math.MaxUint64,
		Types: []rules.TypeState{
			{Type: 0, Latest: math.MaxInt64, Rising: 1, Last: last[:1], Series: []rules.Series{{Resolution: 1}}},
			{
				Type: 2, Latest: 125, Rising: math.MaxUint64, Last: last,
				Series: []rules.Series{
					{Resolution: 1, Buckets: []rules.Bucket{{Time: 0, Sum: sum, Count: math.MaxUint64}, {Time: 125, Sum: last[0], Count: 1}}},
					{Resolution: 60, Buckets: []rules.Bucket{{Time: 120, Sum: last[0], Count: 1}}},
				},
			},
		},
	}}
}

// goldenTypes is the table of the golden records.
var goldenTypes = []string{"deposit", "withdraw", "card payment"}

// goldens returns the golden records, by the name they have in testdata.
func goldens(t testing.TB) map[string]state.Record {
	return map[string]state.Record{"new": {}, "typical": typical(t), "full": full(t)}
}

// goldenBytes reads lines of a name and bytes in hexadecimal, # for comments.
func goldenBytes(t testing.TB, name string) map[string][]byte {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	records := map[string][]byte{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		b, err := hex.DecodeString(strings.Join(fields[1:], ""))
		if err != nil {
			t.Fatal(err)
		}
		records[fields[0]] = append(records[fields[0]], b...)
	}
	return records
}

// TestRecordV1Amounts reads amounts of every form that version 1 had; the bytes are worked out by hand.
func TestRecordV1Amounts(t *testing.T) {
	for amountBytes, want := range map[string]string{
		"02":                                     "0.01",
		"d041":                                   "42",
		"4701":                                   "0.001",
		"feffffffffffffffff01":                   "92233720368547758.07", // 2^63-1 hundredths, the last short one
		"85048000000000000000":                   "92233720368547758.08", // 2^63, in the long form
		"8504fffffffffffffffe":                   "184467440737095516.14",
		"8504ffffffffffffffff":                   "184467440737095516.15",
		"81040de0b6b3a763ffff":                   "999999999999999999",
		"a5090100000000000000000000000000000000": "", // scale 18, but 18 bytes are said and 17 stand there
	} {
		b, err := hex.DecodeString("0100030500" + "01" + "01" + "05" + "01" + amountBytes + "00") // one deposit at 5, no bucket
		if err != nil {
			t.Fatal(err)
		}
		got, err := state.DecodeRecord(b, rules.DefaultTypes())
		if want == "" {
			if !errors.Is(err, state.ErrCorrupt) {
				t.Errorf("%s: %+v, %v", amountBytes, got, err)
			}
			continue
		}
		if err != nil || got.State.Types[0].Last[0].String() != want {
			t.Errorf("%s: %+v, %v, want %s", amountBytes, got, err, want)
		}
	}
}

func TestGoldenRecords(t *testing.T) {
	types, stored := typesOf(t, goldenTypes...), goldenBytes(t, "record-v3.txt")
	former := []map[string][]byte{goldenBytes(t, "record-v1.txt"), goldenBytes(t, "record-v2.txt")}
	for name, record := range goldens(t) {
		for i, records := range former {
			if old, err := state.DecodeRecord(records[name], types); err != nil || !sameRecord(&old, &record) {
				t.Errorf("%s of version %d: decoded %+v, %v; want %+v", name, i+1, old, err, record)
			}
		}
		b, err := state.AppendRecord(nil, types, &record)
		if err != nil || !bytes.Equal(b, stored[name]) {
			t.Errorf("%s: encoded\n%x, %v; golden\n%x", name, b, err, stored[name])
		}
		for version := byte(state.RecordVersionLeast); version < state.RecordVersion; version++ {
			b, err := state.AppendRecordOf(version, types, &record)
			if want := former[version-1][name]; err != nil || !bytes.Equal(b, want) {
				t.Errorf("%s: encoded in version %d\n%x, %v; golden\n%x", name, version, b, err, want)
			}
		}
		got, err := state.DecodeRecord(stored[name], types)
		if err != nil || !sameRecord(&got, &record) {
			t.Errorf("%s: decoded %+v, %v; want %+v", name, got, err, record)
		}
	}
	for i, records := range append(former, stored) {
		if len(records) != len(goldens(t)) {
			t.Errorf("testdata has %d records of version %d, %d are known", len(records), i+1, len(goldens(t)))
		}
	}
}

// TestNewerRecord reads a record of a version to come: the message has both versions and what to do.
func TestNewerRecord(t *testing.T) {
	record := typical(t)
	b, err := state.AppendRecord(nil, rules.DefaultTypes(), &record)
	if err != nil {
		t.Fatal(err)
	}
	b[0] = state.RecordVersion + 1
	_, err = state.DecodeRecord(b, rules.DefaultTypes())
	if !errors.Is(err, state.ErrNewer) {
		t.Fatalf("%v, want ErrNewer", err)
	}
	for _, part := range []string{"record version 4, this build reads 1 to 3", "start the newer build again", "deploy/README.md"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	b[0] = 0
	if _, err = state.DecodeRecord(b, rules.DefaultTypes()); errors.Is(err, state.ErrNewer) {
		t.Errorf("version 0: %v", err)
	}
}

// sameRecord compares records.
func sameRecord(a, b *state.Record) bool {
	return a.Incarnation == b.Incarnation && a.Lane == b.Lane && a.Tag == b.Tag && a.State.Equal(&b.State)
}

func TestRecordSize(t *testing.T) {
	record := typical(t)
	record.Tag = 1_000_000
	b, err := state.AppendRecord(nil, rules.DefaultTypes(), &record)
	if err != nil || len(b) > 32 {
		t.Fatalf("%d bytes, %v; want at most 32", len(b), err)
	}
	t.Logf("a typical user takes %d bytes", len(b))
}

// TestTypesByIdentity decodes records under other tables of types.
func TestTypesByIdentity(t *testing.T) {
	written := typesOf(t, "a", "deposit", "b", "withdraw")
	st := rules.UserState{RunType: 2, RunLength: 4}
	for typ := range rules.Type(4) {
		text := string('1' + rune(typ))
		st.Types = append(st.Types, rules.TypeState{
			Type: typ, Latest: 100 - 10*rules.Time(typ), Rising: 1, Last: []rules.Amount{amount(t, text)}, Series: []rules.Series{{Resolution: 1}},
		})
	}
	b, err := state.AppendRecord(nil, written, &state.Record{Tag: 5, State: st})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		table   []string
		run     string   // the type of the run, "": none
		amounts []string // by position in the table, "": no entry
	}{
		{[]string{"a", "deposit", "b", "withdraw"}, "b", []string{"1", "2", "3", "4"}},
		{[]string{"withdraw", "b", "deposit", "a"}, "b", []string{"4", "3", "2", "1"}},
		{[]string{"new", "withdraw", "a"}, "", []string{"", "4", "1"}},
		{[]string{"b"}, "b", []string{"3"}},
		{[]string{"new"}, "", []string{""}},
	} {
		types := typesOf(t, test.table...)
		got, err := state.DecodeRecord(b, types)
		if err != nil || got.Tag != 5 {
			t.Fatalf("%v: %+v, %v", test.table, got, err)
		}
		run := ""
		if got.State.RunLength > 0 {
			run = types.Name(got.State.RunType)
		}
		amounts := make([]string, types.Len())
		for _, ts := range got.State.Types {
			amounts[ts.Type] = ts.Last[0].String()
			if want := 100 - 10*rules.Time(amounts[ts.Type][0]-'1'); ts.Latest != want {
				t.Errorf("%v: type %s has latest %d, want %d", test.table, types.Name(ts.Type), ts.Latest, want)
			}
		}
		if run != test.run || strings.Join(amounts, " ") != strings.Join(test.amounts, " ") {
			t.Errorf("%v: run of %q, amounts %q; want %q, %q", test.table, run, amounts, test.run, test.amounts)
		}
	}
}

// TestInvariants breaks each invariant of a record, and expects the same refusal
// whether it is written or read.
func TestInvariants(t *testing.T) {
	for name, spoil := range map[string]func(r *state.Record){
		"lane -1":         func(r *state.Record) { r.Lane = -1 },
		"tag -1":          func(r *state.Record) { r.Tag = -1 },
		"run of type 3":   func(r *state.Record) { r.State.RunType = 3 },
		"entry 1 is of":   func(r *state.Record) { r.State.Types[1].Type = 0 },
		"entry 0 is of":   func(r *state.Record) { r.State.Types[0].Type = 9 },
		"latest time":     func(r *state.Record) { r.State.Types[0].Latest = -5 },
		"length 0":        func(r *state.Record) { r.State.Types[0].Rising = 0 },
		"2 last amounts":  func(r *state.Record) { r.State.Types[0].Rising = 3 },
		"no series":       func(r *state.Record) { r.State.Types[0].Series = nil },
		"of resolution 1": func(r *state.Record) { r.State.Types[0].Series[0].Resolution = 2 },
		"resolution 1 fol": func(r *state.Record) {
			r.State.Types[0].Series = append(r.State.Types[0].Series, r.State.Types[0].Series[0])
		},
		"has no events":    func(r *state.Record) { r.State.Types[0].Series[0].Buckets[0].Count = 0 },
		"up to 1700000000": func(r *state.Record) { r.State.Types[0].Series[0].Buckets[0].Time++ },
		"after -1":         func(r *state.Record) { r.State.Types[0].Series[0].Buckets[0].Time = -1 },
		"4097 buckets":     func(r *state.Record) { r.State.Types[0].Series[0].Buckets = make([]rules.Bucket, 4097) },
		"bucket 1 has time": func(r *state.Record) {
			s := &r.State.Types[0].Series[0]
			s.Buckets = append(s.Buckets, s.Buckets[0])
		},
	} {
		record := typical(t)
		spoil(&record)
		b, err := state.AppendRecord([]byte("before"), typesOf(t, goldenTypes...), &record)
		if !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), name) || string(b) != "before" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestMostBuckets(t *testing.T) {
	record := typical(t)
	s := &record.State.Types[0].Series[0]
	s.Buckets = nil
	for i := range rules.Time(rules.BucketsMax) {
		s.Buckets = append(s.Buckets, rules.Bucket{Time: 1_600_000_000 + i, Sum: amount(t, "1"), Count: 1})
	}
	types := rules.DefaultTypes()
	b, err := state.AppendRecord(nil, types, &record)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := state.DecodeRecord(b, types); err != nil || !sameRecord(&got, &record) {
		t.Fatalf("%v", err)
	}
}

// TestHostileRecords decodes bytes that promise more than they hold. Each is
// refused for the reason given, and none makes the decoder allocate for it.
func TestHostileRecords(t *testing.T) {
	const head = "01 00 03 05 "
	for _, test := range []struct{ bytes, reason string }{
		{"", "empty"},
		{"04 00 03 05 00 00", "version 4"},
		{"00 00 03 05 00 00", "version 0"},
		{"03", "bad incarnation"},
		{"02", "bad incarnation"},
		{"01", "bad incarnation"},
		{"01 80 80 80 80 10 03 05 00 00", "bad incarnation"}, // 2^32
		{"01 00 80 80 80 80 08 05 00 00", "bad lane"},        // 2^31
		{"01 00 03 80 80 80 80 80 80 80 80 80 01 00 00", "bad tag"},
		{"01 00 83 00 05 00 00", "bad lane"}, // 3 in two bytes
		{head, "bad run length"},
		{head + "01 03 00", "bad type code"},
		{head + "00 41", "bad number of types"}, // 65
		{head + "00 00 00", "1 bytes after"},
		{head + "00 01 00 40 61", "cut"},
		{head + "00 01 00 41 61", "bad length of a type name"},
		{head + "00 01 00 00 05 01 c8 01 00", "empty or has a code"},
		{head + "00 01 00 07 64 65 70 6f 73 69 74 05 01 c8 01 00", "empty or has a code"},
		{head + "00 02 01 05 01 c8 01 00 01 00 01 c8 01 00", "twice"},
		{head + "00 02 01 05 01 c8 01 00 02 0d 01 c8 01 00", "negative"}, // 5 - 7
		{head + "00 01 01 05 00 00", "length 0"},
		{head + "00 01 01 05 ff ff ff ff ff ff ff ff ff 01 c8 01", "amount"},
		{head + "00 01 01 05 01 c8 01 80 40", "more buckets than bytes"},         // 4096
		{head + "00 01 01 05 01 c8 01 82 40", "too many buckets"},                // 4097
		{head + "00 01 01 05 01 c8 01 02 0c c8 01", "before time 0"},             // 5 - 6
		{head + "00 01 01 05 01 c8 01 02 01 01 c8 01", "less than 2"},            // counted, and 1
		{head + "00 01 01 05 01 c8 01 04 00 c8 01 00 c8 01", "bucket 1"},         // the same time twice
		{head + "00 01 01 05 01 c8 01 01 00 00", "resolution 0 follows"},         // a second series
		{head + "00 01 01 05 01 c8 01 01", "bad number of buckets"},              // it does not come
		{"03 00 03 05 00 01 01 05 01 c9 01 80 80 01", "more buckets than bytes"}, // 4096
		{"03 00 03 05 00 01 01 05 01 c9 01 82 80 01", "too many buckets"},        // 4096, and one unwritten
		{"03 00 03 05 00 01 01 05 01 c9 01 84 80 01", "too many buckets"},        // 4097
		{"03 00 03 05 00 01 01 05 01 c9 01 06 00 c9 01", "bucket 1"},             // the unwritten one's time again
		{"03 00 03 05 00 01 01 05 00 02", "that is not there"},                   // unwritten, and no last amount
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(test.bytes, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 1 && b[0] == 1 { // version 2 refuses the same
			today := append([]byte{2}, b[1:]...)
			if _, err := state.DecodeRecord(today, rules.DefaultTypes()); !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%x: got %v, want %q", today, err, test.reason)
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = state.DecodeRecord(b, rules.DefaultTypes())
		runtime.ReadMemStats(&after)
		if !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: got %v, want %q", test.bytes, err, test.reason)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16<<10 {
			t.Errorf("%s: allocated %d bytes", test.bytes, allocated)
		}
	}
}

// randomRecord draws a valid record for a table of n types.
func randomRecord(t *rapid.T, n int) state.Record {
	number := func(name string) uint64 { return rapid.Uint64Range(1, math.MaxUint64).Draw(t, name) }
	r := state.Record{
		Incarnation: rapid.Uint32().Draw(t, "incarnation"),
		Lane:        rapid.Int32Range(0, math.MaxInt32).Draw(t, "lane"),
		Tag:         rapid.Int64Range(0, math.MaxInt64).Draw(t, "tag"),
	}
	if rapid.Bool().Draw(t, "run") {
		r.State.RunType = rules.Type(rapid.IntRange(0, n-1).Draw(t, "run type"))
		r.State.RunLength = number("run length")
	}
	for typ := range n {
		if !rapid.Bool().Draw(t, "seen") {
			continue
		}
		ts := rules.TypeState{Type: rules.Type(typ), Latest: rules.Time(rapid.Int64Range(0, math.MaxInt64).Draw(t, "latest")), Rising: number("rising")}
		for range min(ts.Rising, rules.LastMax) {
			ts.Last = append(ts.Last, randomAmount(t))
		}
		resolution := int64(1)
		for range rapid.IntRange(1, 3).Draw(t, "series") {
			series := rules.Series{Resolution: resolution}
			at := int64(-1)
			for at < int64(ts.Latest) && rapid.IntRange(0, 5).Draw(t, "more") > 0 {
				at = rapid.Int64Range(at+1, int64(ts.Latest)).Draw(t, "bucket time")
				count := uint64(1)
				if rapid.Bool().Draw(t, "several") {
					count = number("count")
				}
				series.Buckets = append(series.Buckets, rules.Bucket{Time: rules.Time(at), Sum: randomAmount(t), Count: count})
			}
			if at < int64(ts.Latest) && rapid.Bool().Draw(t, "last alone") {
				series.Buckets = append(series.Buckets, rules.Bucket{Time: ts.Latest, Sum: ts.Last[len(ts.Last)-1], Count: 1})
			}
			ts.Series = append(ts.Series, series)
			resolution += rapid.Int64Range(1, 1<<40).Draw(t, "resolution step")
		}
		r.State.Types = append(r.State.Types, ts)
	}
	return r
}

// randomAmount draws an amount of any size, sums of several included.
func randomAmount(t *rapid.T) rules.Amount {
	text := rapid.StringMatching(`[0-9]{1,18}(\.[0-9]{1,17}[1-9])?`).Draw(t, "amount")
	a, err := rules.ParseAmount([]byte(text))
	if err != nil { // zero
		return rules.Amount{}
	}
	for range rapid.IntRange(0, 3).Draw(t, "sum") {
		a = a.Add(a)
	}
	return a
}

// roundTrip encodes a random record and decodes it again, also under a table in
// another order, whose types are the same by name.
var reopenedInto rules.UserState // has whatever the state before it needed

// reopened checks that ReopenState gives back what AppendState was given, into memory that had another state.
func reopened(t interface{ Fatalf(string, ...any) }, types *rules.Types, st *rules.UserState, into *rules.UserState) {
	codec := state.NewCodec(types)
	encoded := codec.AppendState(nil, st)
	codec.ReopenState(encoded, into)
	if !into.Equal(st) {
		t.Fatalf("%x reopened is %+v, want %+v", encoded, into, st)
	}
	if again := codec.AppendState(nil, into); !bytes.Equal(again, encoded) {
		t.Fatalf("%x reopened is written as %x", encoded, again)
	}
}

func roundTrip(t *rapid.T) {
	names := []string{"transfer", "deposit", "fee", "withdraw"}
	types, err := rules.NewTypes(names...)
	if err != nil {
		t.Fatal(err)
	}
	record := randomRecord(t, types.Len())
	b, err := state.AppendRecord(nil, types, &record)
	if err != nil {
		t.Fatal(err)
	}
	got, err := state.DecodeRecord(b, types)
	if err != nil || !sameRecord(&got, &record) {
		t.Fatalf("%x: got %+v, %v; want %+v", b, got, err, record)
	}
	reopened(t, types, &record.State, &reopenedInto)
	other, err := rules.NewTypes(rapid.Permutation(names).Draw(t, "order")...)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := state.DecodeRecord(b, other)
	if err != nil {
		t.Fatal(err)
	}
	again, err := state.AppendRecord(nil, other, &moved)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := state.DecodeRecord(again, types); err != nil || !sameRecord(&got, &record) {
		t.Fatalf("%x: by way of another order got %+v, %v; want %+v", b, got, err, record)
	}
}

func TestRoundTrip(t *testing.T) { rapid.Check(t, roundTrip) }

// FuzzRoundTrip draws the records from fuzzed bytes.
func FuzzRoundTrip(f *testing.F) { f.Fuzz(rapid.MakeFuzz(roundTrip)) }

// FuzzDecodeRecord decodes arbitrary bytes. What is taken is valid, and is the
// same after it was written again.
func FuzzDecodeRecord(f *testing.F) {
	for _, name := range []string{"record-v1.txt", "record-v2.txt", "record-v3.txt"} {
		for _, b := range goldenBytes(f, name) {
			f.Add(b)
		}
	}
	types := typesOf(f, "withdraw", "deposit")
	f.Fuzz(func(t *testing.T, b []byte) {
		record, err := state.DecodeRecord(b, types)
		if err != nil {
			if !errors.Is(err, state.ErrCorrupt) {
				t.Fatalf("%x: %v", b, err)
			}
			return
		}
		again, err := state.AppendRecord(nil, types, &record)
		if err != nil {
			t.Fatalf("%x: %+v: %v", b, record, err)
		}
		got, err := state.DecodeRecord(again, types)
		if err != nil || !sameRecord(&got, &record) {
			t.Fatalf("%x became %x: %+v, %v; want %+v", b, again, got, err, record)
		}
		// It had another order of types or one that is dropped, but now it is fixed.
		if third, err := state.AppendRecord(nil, types, &got); err != nil || !bytes.Equal(third, again) {
			t.Fatalf("%x became %x, %v", again, third, err)
		}
	})
}

func BenchmarkAppendRecord(b *testing.B) {
	record, types := typical(b), rules.DefaultTypes()
	var s state.Snapshot
	b.ReportAllocs()
	for b.Loop() {
		if s.Len()%10000 == 0 {
			s.Reset(record.Lane, types, state.Checkpoint{Offset: record.Tag})
		}
		s.Add(1, record.Tag, &record.State)
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	record, types := typical(b), rules.DefaultTypes()
	bytes, err := state.AppendRecord(nil, types, &record)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := state.DecodeRecord(bytes, types); err != nil {
			b.Fatal(err)
		}
	}
}
