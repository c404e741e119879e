package consumer

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestReadyMetric: lapwing_ready says at each scrape what /readyz says then.
func TestReadyMetric(t *testing.T) {
	registry, h := prometheus.NewRegistry(), newHealth()
	registerReady(registry, h.ready)
	check := func(what, value string) {
		t.Helper()
		want := "# HELP lapwing_ready 1 while /readyz of the engine answers 200, else 0.\n# TYPE lapwing_ready gauge\nlapwing_ready " + value + "\n"
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("nothing is wrong", "1")
	h.set("redis", "away")
	check("Redis is away", "0")
	h.clear("redis")
	check("Redis is back", "1")
	h.condemn("lane 1", "hangs")
	check("a lane hangs", "0")
}
