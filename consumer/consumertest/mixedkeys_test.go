package consumertest

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"strconv"
	"testing"
)

func TestMixedKeys(t *testing.T) {
	const n, users = 20_000, 30
	options := EventOptions{Seed: 9, Users: users, UserFirst: 100, Bad: 0.5, Tombstones: 0.3, Headers: 1}
	shares := KeyShares{None: 0.2, Other: 0.3}
	records := MixedKeys(options, n, shares)
	if len(records) != n {
		t.Fatalf("%d records, want %d", len(records), n)
	}
	if !reflect.DeepEqual(records, MixedKeys(options, n, shares)) {
		t.Error("the same options gave other records")
	}
	plain := MixedKeys(options, n, KeyShares{})
	count := map[string]int{}
	for i, r := range records {
		var event struct {
			User int64 `json:"user_id"`
		}
		if err := json.Unmarshal(r.Value, &event); err != nil {
			t.Fatalf("record %d: %s: %v", i, r.Value, err)
		}
		text := strconv.FormatInt(event.User, 10)
		if string(plain[i].Key) != text || string(plain[i].Value) != string(r.Value) {
			t.Fatalf("record %d without shares: %q %s, with them %s", i, plain[i].Key, plain[i].Value, r.Value)
		}
		count[keyKind(r.Key, text, event.User)]++
	}
	want := map[string]int{"user_id": n / 2, "none": n / 5, "another user": n / 10, "text": n / 10, "binary": n / 10}
	for kind, wanted := range want {
		// Six standard deviations of the largest are 424.
		if got := count[kind]; got < wanted-424 || got > wanted+424 {
			t.Errorf("%s: %d of %d records, want about %d", kind, got, n, wanted)
		}
	}
	if len(count) != len(want) {
		t.Errorf("kinds of keys: %v", count)
	}
	for i, r := range MixedKeys(EventOptions{Users: 1}, 100, KeyShares{Other: 1}) {
		if string(r.Key) == "0" || len(r.Key) == 0 {
			t.Errorf("record %d of the only user 0 has the key %q", i, r.Key)
		}
	}
}

// keyKind says what a key is to a user of 100 to 129.
func keyKind(key []byte, text string, user int64) string {
	number, err := strconv.ParseInt(string(key), 10, 64)
	switch {
	case key == nil:
		return "none"
	case string(key) == text:
		return "user_id"
	case err == nil && number >= 100 && number < 130:
		return "another user"
	case string(key) == "account-"+text:
		return "text"
	case len(key) == 8 && binary.BigEndian.Uint64(key) == uint64(user):
		return "binary"
	}
	return "unknown: " + string(key)
}
