package rulestest

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
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

// Verdict is what the rules say about an event, with the numbers behind it.
type Verdict struct {
	// Codes are those raised, in the order 1100, 30, 300, 123; never nil.
	Codes []int
	// LateBy is how many seconds the event is behind the latest of its user and type; 0: it is not.
	LateBy int64
	// Amount is the event's. Amounts are decimal texts without needless zeros.
	Amount string
	// Withdraws is how many withdraws the user's events end with.
	Withdraws int
	// Rising is how many deposits strictly increase up to the last one, and Amounts the last of these, at most 8, oldest first.
	Rising  int
	Amounts []string
	// Sum and Count are of the deposits with a time in the 30 s that end with the event.
	Sum   string
	Count int
}

// Judge adds the event to the history and returns the codes that it raises, in the order 1100, 30, 300, 123; never
// nil. It panics if the amount is no number.
func (m *Model) Judge(e Event) []int { return m.Explain(e).Codes }

// Explain is Judge with the numbers.
func (m *Model) Explain(e Event) Verdict {
	amount, ok := new(big.Rat).SetString(e.Amount)
	if !ok {
		panic(fmt.Sprintf("rulestest: amount %q of user %d is no number", e.Amount, e.UserID))
	}
	before := m.users[e.UserID]
	history := append(before, past{e.Type, amount, e.Time})
	m.users[e.UserID] = history

	run := risingDeposits(history)
	sum, count := depositedWithin(history, e.Time-30, e.Time)
	v := Verdict{
		Codes: []int{}, LateBy: behind(before, e), Amount: text(amount), Withdraws: withdrawsInARow(history),
		Rising: len(run), Sum: text(sum), Count: count,
	}
	for _, a := range run[max(0, len(run)-8):] {
		v.Amounts = append(v.Amounts, text(a))
	}
	if e.Type == "withdraw" && amount.Cmp(big.NewRat(100, 1)) > 0 {
		v.Codes = append(v.Codes, 1100)
	}
	if v.Withdraws >= 3 {
		v.Codes = append(v.Codes, 30)
	}
	if e.Type == "deposit" && len(run) >= 3 {
		v.Codes = append(v.Codes, 300)
	}
	if e.Type == "deposit" && sum.Cmp(big.NewRat(200, 1)) > 0 {
		v.Codes = append(v.Codes, 123)
	}
	return v
}

// text is a decimal of at most 18 places without needless zeros.
func text(r *big.Rat) string {
	return strings.TrimSuffix(strings.TrimRight(r.FloatString(18), "0"), ".")
}

// behind is how many seconds the event is behind the latest of its type.
func behind(before []past, e Event) (seconds int64) {
	for _, p := range before {
		if p.typ == e.Type {
			seconds = max(seconds, p.time-e.Time)
		}
	}
	return seconds
}

// withdrawsInARow counts the withdraws that the history ends with.
func withdrawsInARow(history []past) int {
	n := 0
	for i := len(history) - 1; i >= 0 && history[i].typ == "withdraw"; i-- {
		n++
	}
	return n
}

// risingDeposits returns the amounts that strictly increase up to the last deposit, in the order of arrival.
func risingDeposits(history []past) []*big.Rat {
	var run []*big.Rat // newest first
	for i := len(history) - 1; i >= 0; i-- {
		if history[i].typ != "deposit" {
			continue
		}
		if len(run) > 0 && history[i].amount.Cmp(run[len(run)-1]) >= 0 {
			break
		}
		run = append(run, history[i].amount)
	}
	slices.Reverse(run)
	return run
}

// depositedWithin sums and counts the deposits with a time in (from, to].
func depositedWithin(history []past, from, to int64) (sum *big.Rat, count int) {
	sum = new(big.Rat)
	for _, p := range history {
		if p.typ == "deposit" && from < p.time && p.time <= to {
			sum.Add(sum, p.amount)
			count++
		}
	}
	return sum, count
}
