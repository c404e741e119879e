package rulestest

import (
	"fmt"
	"math/big"
)

// Event is a decoded event. Type is deposit or withdraw, Amount a decimal text.
type Event struct {
	Type, Amount string
	UserID, Time int64
}

// Model is the history of all users. It is for one goroutine.
type Model struct {
	users map[int64][]past
}

// past is one event of a user's history.
type past struct {
	typ    string
	amount *big.Rat
	time   int64
}

// NewModel knows of no event yet.
func NewModel() *Model { return &Model{users: map[int64][]past{}} }

// Judge adds the event to the history and returns the codes that it raises, in the order 1100, 30, 300, 123; never
// nil. It panics if the amount is no number.
func (m *Model) Judge(e Event) []int {
	amount, ok := new(big.Rat).SetString(e.Amount)
	if !ok {
		panic(fmt.Sprintf("rulestest: amount %q of user %d is no number", e.Amount, e.UserID))
	}
	history := append(m.users[e.UserID], past{e.Type, amount, e.Time})
	m.users[e.UserID] = history

	codes := []int{}
	if e.Type == "withdraw" && amount.Cmp(big.NewRat(100, 1)) > 0 {
		codes = append(codes, 1100)
	}
	if withdrawsInARow(history) >= 3 {
		codes = append(codes, 30)
	}
	if e.Type == "deposit" && lastThreeDepositsRise(history) {
		codes = append(codes, 300)
	}
	if e.Type == "deposit" && depositedWithin(history, e.Time-30, e.Time).Cmp(big.NewRat(200, 1)) > 0 {
		codes = append(codes, 123)
	}
	return codes
}

// withdrawsInARow counts the withdraws that the history ends with.
func withdrawsInARow(history []past) int {
	n := 0
	for i := len(history) - 1; i >= 0 && history[i].typ == "withdraw"; i-- {
		n++
	}
	return n
}

// lastThreeDepositsRise looks at the deposits in the order of arrival.
func lastThreeDepositsRise(history []past) bool {
	var last []*big.Rat // newest first
	for i := len(history) - 1; i >= 0 && len(last) < 3; i-- {
		if history[i].typ == "deposit" {
			last = append(last, history[i].amount)
		}
	}
	return len(last) == 3 && last[2].Cmp(last[1]) < 0 && last[1].Cmp(last[0]) < 0
}

// depositedWithin sums the deposits with a time in (from, to].
func depositedWithin(history []past, from, to int64) *big.Rat {
	sum := new(big.Rat)
	for _, p := range history {
		if p.typ == "deposit" && from < p.time && p.time <= to {
			sum.Add(sum, p.amount)
		}
	}
	return sum
}
