package sim

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kind is what a fault is about: the key of a Kafka request, or an operation of the store (below zero).
type kind int16

// Operations of the store, and whole members and stores.
const (
	storeClaim kind = -1 - iota
	storeRead
	storeWrite
	storeSwap
)

func (k kind) String() string {
	switch k {
	case storeClaim:
		return "store claim"
	case storeRead:
		return "store read"
	case storeWrite:
		return "store write"
	case storeSwap:
		return "store swap"
	}
	return kmsg.NameForKey(int16(k))
}

// action is what becomes of one request.
type action uint8

const (
	lost    action = iota // never reaches the broker; the connection is cut
	silent                // never reaches the broker; the connection stays, without an answer
	unheard               // carried out; the connection is cut instead of the answer
	slow                  // a pause before the broker gets it, or before the answer
	late                  // given up by the client, and carried out some time afterwards
	refused               // answered with a code, and not carried out
	partly                // one partition is answered with a code, the others are carried out
	applied               // carried out, and answered with a code all the same
)

func (a action) String() string {
	return [...]string{"lost", "silent", "unheard", "slow", "late", "refused", "partly", "applied"}[a]
}

// cell is one line of the table of faults.
type cell struct {
	kind   kind
	action action
	code   int16 // of refused, partly, applied
	top    bool  // the code stands at the top of an answer that has partitions too
}

func (c cell) String() string {
	s := fmt.Sprintf("%v %v", c.kind, c.action)
	if c.action >= refused {
		s += fmt.Sprintf(" %d", c.code)
	}
	if c.top {
		s += " at the top"
	}
	return s
}

// broker is what a broker can say to one kind of request, as the broker's source has it (Kafka 3.1 to 4.x). Left out are
// the codes that need a version of the request, or a feature, that Lapwing does not use: static membership (82),
// MEMBER_ID_REQUIRED (79: JoinGroup v4 on), fetch sessions (70, 71), SASL, quotas. An
// ApiVersions request of version 0 has no code at all that a broker would give.
type broker struct {
	refused []int16 // in place of carrying it out; in each partition where the answer has them
	top     []int16 // the same at the top of an answer that has partitions too
	partly  []int16 // of one partition of several
	applied []int16 // after it was carried out: what a leader says that could not wait for its followers, or has just lost office
}

// brokers is the table. 46 (duplicate) and codes after the append stand under applied only: a broker that says them has
// the batch.
var brokers = map[kmsg.Key]broker{
	kmsg.Fetch: {
		refused: []int16{-1, 1, 2, 3, 5, 6, 9, 29, 56, 74, 75, 78, 100, 103},
		top:     []int16{-1},
	},
	kmsg.Produce: {
		refused: []int16{-1, 2, 3, 5, 6, 7, 10, 18, 19, 29, 32, 45, 47, 48, 49, 51, 53, 56, 59, 87, 120},
		partly:  []int16{3, 6, 19, 45, 47, 56},
		applied: []int16{-1, 6, 7, 20, 46, 56},
	},
	kmsg.InitProducerID:     {refused: []int16{-1, 14, 15, 16, 47, 51, 53, 90}, applied: []int16{15, 16}},
	kmsg.AddPartitionsToTxn: {refused: []int16{-1, 3, 14, 15, 16, 29, 47, 48, 49, 51, 53, 55, 90}, applied: []int16{15, 16}},
	kmsg.AddOffsetsToTxn:    {refused: []int16{-1, 14, 15, 16, 30, 47, 48, 49, 51, 53, 90}, applied: []int16{15, 16}},
	kmsg.TxnOffsetCommit: {
		refused: []int16{-1, 3, 7, 12, 14, 15, 16, 22, 25, 27, 29, 30, 47, 49, 51, 53, 90},
		applied: []int16{7, 15, 16},
	},
	kmsg.EndTxn:          {refused: []int16{-1, 14, 15, 16, 47, 48, 49, 51, 53, 90}, applied: []int16{-1, 15, 16}},
	kmsg.OffsetFetch:     {refused: []int16{-1, 3, 88}, top: []int16{-1, 14, 15, 16, 30}},
	kmsg.OffsetCommit:    {refused: []int16{-1, 3, 7, 12, 14, 15, 16, 22, 25, 27, 29, 30}, applied: []int16{7, 15, 16}},
	kmsg.ListOffsets:     {refused: []int16{-1, 3, 5, 6, 29, 56, 74, 75, 78}},
	kmsg.Metadata:        {refused: []int16{-1, 3, 5, 29}, partly: []int16{5, 9}},
	kmsg.FindCoordinator: {refused: []int16{-1, 14, 15, 30}},
	kmsg.JoinGroup:       {refused: []int16{-1, 14, 15, 16, 23, 25, 26, 30, 81}},
	kmsg.SyncGroup:       {refused: []int16{-1, 14, 15, 16, 22, 25, 27, 30}, applied: []int16{15, 16}},
	kmsg.Heartbeat:       {refused: []int16{-1, 15, 16, 22, 25, 27, 30}},
	kmsg.LeaveGroup:      {refused: []int16{-1, 14, 15, 16, 25, 30}},
	kmsg.DescribeConfigs: {refused: []int16{-1, 29}},
	kmsg.ApiVersions:     {},
}

// table lists every fault of a request, in a fixed order.
func table() []cell {
	var cells []cell
	for key, b := range brokers {
		k := kind(key)
		for _, a := range []action{lost, silent, unheard, slow, late} {
			cells = append(cells, cell{kind: k, action: a})
		}
		for _, code := range b.refused {
			cells = append(cells, cell{kind: k, action: refused, code: code})
		}
		for _, code := range b.top {
			cells = append(cells, cell{kind: k, action: refused, code: code, top: true})
		}
		for _, code := range b.partly {
			cells = append(cells, cell{kind: k, action: partly, code: code})
		}
		for _, code := range b.applied {
			cells = append(cells, cell{kind: k, action: applied, code: code})
		}
	}
	for _, k := range []kind{storeClaim, storeRead, storeWrite} {
		for _, a := range []action{lost, unheard, slow} {
			cells = append(cells, cell{kind: k, action: a})
		}
	}
	slices.SortFunc(cells, func(a, b cell) int {
		top := func(c cell) int {
			if c.top {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.action, b.action), cmp.Compare(a.code, b.code), top(a)-top(b))
	})
	return cells
}

// transactional reports whether only exactly once sends this request.
func (k kind) transactional() bool {
	switch kmsg.Key(k) {
	case kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn:
		return true
	}
	return false
}

// fatal reports whether an engine ends with this code: the operator has to do something, or the topic refuses records
// for what they are. A simulation starts it again, as whatever runs a process does.
func (c cell) fatal() bool {
	return c.action >= refused && slices.Contains([]int16{12, 23, 26, 29, 30, 32, 53, 81, 87}, c.code)
}
