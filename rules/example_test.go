package rules_test

import (
	"fmt"

	"github.com/lapwing/lapwing/rules"
)

// The built-in rules over three withdraws of one user.
func Example() {
	set := rules.Builtin()
	withdraw, _ := set.Types().Lookup([]byte("withdraw"))

	var user rules.UserState
	var verdict rules.Verdict
	for i, text := range []string{"200.00", "99.99", "101"} {
		amount, err := rules.ParseAmount([]byte(text))
		if err != nil {
			fmt.Println(err)
			return
		}
		event := rules.Event{Type: withdraw, UserID: 3, Time: rules.Time(10 + i), Amount: amount}
		set.Judge(&user, &event, &verdict)
		for _, alert := range verdict.Alerts {
			fmt.Println(text, "raises", alert.Rule.Code, alert.Rule.Name)
		}
	}
	// Output:
	// 200.00 raises 1100 large withdrawal
	// 101 raises 1100 large withdrawal
	// 101 raises 30 withdrawals in a row
}

// A rule file with a mistake in each of two rules.
func ExampleParse() {
	_, err := rules.Parse("rules.yaml", []byte(`
rules:
  - {code: 1, kind: streak, types: [withdraw], count: 1}
  - {code: 2, name: burst, kind: window_count, types: [deposits], window: 1m, over: 5}
`), rules.DefaultTypes())
	fmt.Println(err)
	// Output:
	// rules.yaml:3:55: rule 1: count "1" is out of range, want 2 to 1000000
	// rules.yaml:4:56: rule 2 "burst": unknown type "deposits", want one of deposit, withdraw
}
