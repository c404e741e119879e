package contract

import (
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/lapwing/lapwing/rules"
)

// usual is an event with numbers of usual length.
const usual = `{"type":"withdraw","amount":"1042.50","user_id":123456,"time":1700000000}`

func BenchmarkDecode(b *testing.B) {
	for _, bench := range []struct{ name, value string }{
		{"flat", usual},
		{"spaced", `{"type": "withdraw", "amount": "1042.50", "user_id": 123456, "time": 1700000000}`},
		{"more members", `{"id":"f81d4fae-7dec-11d0-a765-00a0c91e6bf6","tags":["a","b"],` + usual[1:]},
		{"escaped", `{"\u0074ype":"withdraw","amount":"\u0031042.50","user_id":123456,"time":1700000000}`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			d := NewDecoder(DecoderOptions{})
			value := []byte(bench.value)
			var ev Event
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if r := d.Decode(value, 1700000000000, &ev); r != nil {
					b.Fatal(r)
				}
			}
		})
	}
}

// BenchmarkDecodeOracle is the same flat event through go-json-experiment, without the checks of its
// members but for the amount.
func BenchmarkDecodeOracle(b *testing.B) {
	value := []byte(usual)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		var ev struct {
			Type   string `json:"type"`
			Amount string `json:"amount"`
			UserID int64  `json:"user_id"`
			Time   int64  `json:"time"`
		}
		if err := json.Unmarshal(value, &ev); err != nil {
			b.Fatal(err)
		}
		if _, err := rules.ParseAmount([]byte(ev.Amount)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResult(b *testing.B) {
	alert := alertOf(b)
	ev := Event{
		Event:      rules.Event{Type: 1, UserID: 123456, Time: 1700000000, Amount: amount(b, "1042.50")},
		AmountText: []byte("1042.50"),
	}
	source := Source{"events", 3, 123456789}
	verdicts := []struct {
		name string
		v    rules.Verdict
	}{
		{"no alert", rules.Verdict{}},
		{"two alerts", rules.Verdict{Alerts: []rules.Alert{alert[rules.KindRising], alert[rules.KindWindowSum]}}},
	}
	for _, detail := range []struct {
		name string
		d    Detail
	}{{"minimal", DetailMinimal}, {"full", DetailFull}} {
		for _, verdict := range verdicts {
			b.Run(detail.name+"/"+verdict.name, func(b *testing.B) {
				e := NewResultEncoder(rules.DefaultTypes(), detail.d)
				var dst []byte
				b.ReportAllocs()
				for b.Loop() {
					dst = e.Append(dst[:0], &ev, source, &verdict.v)
				}
				b.SetBytes(int64(len(dst)))
			})
		}
	}
}

func BenchmarkPartition(b *testing.B) {
	for _, p := range []Partitioner{Murmur2, CRC32, FNV1a} {
		b.Run(p.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.UserPartition(123456789, 12)
			}
		})
	}
}
