package main

import (
	"testing"
	"time"
)

func TestNumbers(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{thousands(0), "0"}, {thousands(999.4), "999"}, {thousands(1000), "1,000"}, {thousands(1234567.8), "1,234,568"}, {thousands(-123456), "-123,456"},
		{spread([]float64{3, 1, 2}, decimals(1)), "2.0 (1.0..3.0)"}, {spread([]float64{4}, decimals(0)), "4"},
		{spread([]float64{4, 1}, decimals(1)), "2.5 (1.0..4.0)"}, {trimmed(1.30), "1.3"}, {millis(1500 * time.Microsecond), "1.5"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
	if median(nil) != 0 || quantile(nil, 0.5) != 0 {
		t.Error("nothing has a median")
	}
	ascending := []time.Duration{1, 2, 3, 4}
	if quantile(ascending, 0.5) != 2 || quantile(ascending, 0.99) != 4 || quantile(ascending, 1) != 4 || quantile(ascending, 0) != 1 {
		t.Error("wrong quantiles")
	}
}
