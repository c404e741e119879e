package consumertest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// reasonTooLarge is repeated from the topics' contract: the judge must not take it from what it judges.
const reasonTooLarge = "too_large"

// tooLargeBytes is above the default limit of an event's size, 64 KiB.
const tooLargeBytes = 64<<10 + 1

// badValues holds, for each reason, values with exactly that fault. %d stands for a user id.
var badValues = map[string][]string{
	"confluent_framed": {"\x00\x00\x00\x00\x07" + `{"type":"deposit","amount":"1.00","user_id":%d,"time":10}`},
	"not_utf8":         {`{"type":"deposit","amount":"1.00","user_id":%d,"time":10,"note":"` + "\xff" + `"}`, "\xc3\x28 %d"},
	"not_json": {
		"hello %d", "", `{"type":"deposit","amount":"1.00","user_id":%d,"time":10`,
		`{"type":"deposit","amount":"1.00","user_id":%d,"time":10}}`, `{"type":"deposit","amount":"1.00","user_id":0%d,"time":010}`,
		`{'type':'deposit','amount':'1.00','user_id':%d,'time':10}`,
	},
	"duplicate_member": {
		`{"type":"deposit","amount":"1.00","amount":"1.00","user_id":%d,"time":10}`,
		`{"type":"deposit","amount":"1.00","user_id":%[1]d,"time":10,"user_id":%[1]d}`,
		`{"type":"deposit","amount":"1.00","user_id":%d,"time":10,"note":{"a":1,"a":2}}`,
	},
	"missing_member": {
		`{"amount":"1.00","user_id":%d,"time":10}`, `{"type":"deposit","user_id":%d,"time":10}`,
		`{"type":"deposit","amount":"1.00","time":1%d}`, `{"type":"deposit","amount":"1.00","user_id":%d}`, `{}`,
		`{"type":"deposit","Amount":"1.00","user_id":%d,"time":10}`,
	},
	"wrong_type": {
		`{"type":"deposit","amount":1.00,"user_id":%d,"time":10}`, `{"type":"deposit","amount":"1.00","user_id":"%d","time":10}`,
		`{"type":7,"amount":"1.00","user_id":%d,"time":10}`, `{"type":"deposit","amount":"1.00","user_id":%d,"time":"10"}`,
		`{"type":null,"amount":"1.00","user_id":%d,"time":10}`, `{"type":"deposit","amount":"1.00","user_id":%d,"time":10.5}`,
		`{"type":"deposit","amount":"1.00","user_id":%d.0,"time":10}`, `[%d]`, `null`, `true`, `1%d`,
	},
	"unknown_type": {
		`{"type":"transfer","amount":"1.00","user_id":%d,"time":10}`, `{"type":"Deposit","amount":"1.00","user_id":%d,"time":10}`,
		`{"type":"","amount":"1.00","user_id":%d,"time":10}`,
	},
	"amount_format": {
		`{"type":"deposit","amount":"1e3","user_id":%d,"time":10}`, `{"type":"deposit","amount":"-5.00","user_id":%d,"time":10}`,
		`{"type":"deposit","amount":"+5.00","user_id":%d,"time":10}`, `{"type":"deposit","amount":".5","user_id":%d,"time":10}`,
		`{"type":"deposit","amount":"5.","user_id":%d,"time":10}`, `{"type":"deposit","amount":"","user_id":%d,"time":10}`,
		`{"type":"deposit","amount":"1,00","user_id":%d,"time":10}`, `{"type":"deposit","amount":" 1.00","user_id":%d,"time":10}`,
		`{"type":"deposit","amount":"NaN","user_id":%d,"time":10}`,
	},
	"amount_range": {
		`{"type":"deposit","amount":"0","user_id":%d,"time":10}`, `{"type":"withdraw","amount":"0.00","user_id":%d,"time":10}`,
		`{"type":"deposit","amount":"1234567890123456789","user_id":%d,"time":10}`,
		`{"type":"deposit","amount":"0.1234567890123456789","user_id":%d,"time":10}`,
	},
	"user_id_range": {
		`{"type":"deposit","amount":"1.00","user_id":-1,"time":1%d}`, `{"type":"deposit","amount":"1.00","user_id":9223372036854775808,"time":1%d}`,
	},
	"time_range": {
		`{"type":"deposit","amount":"1.00","user_id":%d,"time":-1}`, `{"type":"deposit","amount":"1.00","user_id":%d,"time":100000000000}`,
		`{"type":"deposit","amount":"1.00","user_id":%d,"time":1732500000000}`,
	},
	reasonTooLarge: nil, // a long value, made where it is drawn
}

// BadReasons returns every reason that a Generator can plant, in a fixed order: all but wrong_partition, since an event
// in another partition than its user's (a stray) is forwarded.
func BadReasons() []string {
	return []string{
		"confluent_framed", "not_utf8", "not_json", "duplicate_member", "missing_member", "wrong_type", "unknown_type",
		"amount_format", "amount_range", "user_id_range", "time_range", reasonTooLarge,
	}
}

// BadVariants returns how many different values are made for a reason.
func BadVariants(reason string) int { return max(len(badValues[reason]), 1) }

// bad makes a record that is no event, for a drawn reason.
func (g *Generator) bad(user int64) Input {
	reason := g.o.Reasons[g.rng.IntN(len(g.o.Reasons))]
	in := g.Bad(reason, g.rng.IntN(BadVariants(reason)), user)
	if g.rng.IntN(8) == 0 {
		in.Key = nil
	}
	return in
}

// Bad makes the numbered variant of a record that is no event for this reason, with the user's key.
func (g *Generator) Bad(reason string, variant int, user int64) Input {
	values, known := badValues[reason]
	if !known {
		panic(fmt.Sprintf("consumertest: unknown reason %q", reason))
	}
	in := Input{
		Kind: KindBad, Reason: reason, Draw: g.rng.Uint32(), Key: strconv.AppendInt(nil, user, 10),
		Headers: []kgo.RecordHeader{{Key: HeaderPlanted, Value: []byte(reason)}},
	}
	if g.rng.IntN(4) == 0 { // what a dead letter must keep: any header, twice, empty, null, and in this order
		in.Headers = append(in.Headers, kgo.RecordHeader{Key: "h", Value: []byte{0, 0xff}}, kgo.RecordHeader{Key: "h", Value: []byte{}},
			kgo.RecordHeader{Key: "", Value: nil})
	}
	if reason == reasonTooLarge {
		in.Value = g.tooLarge(user)
		return in
	}
	value := values[variant%len(values)]
	if strings.Contains(value, "%") {
		value = fmt.Sprintf(value, user)
	}
	in.Value = append([]byte{}, value...) // empty is not null
	return in
}

func (g *Generator) tooLarge(user int64) []byte {
	head := fmt.Appendf(nil, `{"type":"deposit","amount":"1.00","user_id":%d,"time":10,"note":"`, user)
	return append(append(head, bytes.Repeat([]byte{'x'}, tooLargeBytes-len(head)-2)...), '"', '}')
}
