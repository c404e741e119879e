package consumer

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are all of the engine's. Labels are bounded by configuration: lanes, rule codes, fixed reasons; never users.
type metrics struct {
	events, results, tombstones prometheus.Counter
	forwarded                   prometheus.Counter
	alerts, deadLetters         *prometheus.CounterVec
	lateEvents, beyondEvents    prometheus.Counter
	lag, lagSeconds             *prometheus.GaugeVec
	transactions                *prometheus.CounterVec
	transactionSeconds          prometheus.Histogram
	transactionEvents           prometheus.Histogram
	flushSeconds                prometheus.Histogram
	flushedUsers, flushRetries  prometheus.Counter
	dirtyUsers, cachedUsers     *prometheus.GaugeVec
	cacheHits, cacheMisses      prometheus.Counter
	replayed                    prometheus.Counter
	laneStarts, stalls          *prometheus.CounterVec
	laneStartSeconds            prometheus.Histogram
	generations                 prometheus.Counter
	lanes                       prometheus.Gauge
	lost                        *prometheus.CounterVec
	fetchRetries                prometheus.Counter
	recoveries                  *prometheus.CounterVec
	stoppedLanes                *prometheus.GaugeVec

	mu      sync.Mutex
	stopped map[int32]cause // lanes that stand still until somebody acts
}

// Uses of input that was lost: the label of lapwing_lost_records_total.
const (
	lostReplay  = "replay"  // for states that a checkpoint lacks: of [M, C)
	lostJudge   = "judge"   // for results: from C on
	lostRebuild = "rebuild" // for states made anew, all of them: below C
)

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "lapwing_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lapwing_" + name, Help: help}, labels)
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lapwing_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lapwing_" + name, Help: help, Buckets: buckets})
	}
	seconds := prometheus.ExponentialBuckets(0.001, 2, 14)
	m := &metrics{
		events:             counter("events_total", "Events judged and committed."),
		results:            counter("results_total", "Results published; less than events where only alerts are."),
		tombstones:         counter("tombstones_total", "Input records with a null value, skipped."),
		forwarded:          counter("forwarded_records_total", "Records in another partition than their user's, forwarded to it."),
		alerts:             counters("alerts_total", "Alerts raised and committed, by rule code.", "code"),
		deadLetters:        counters("dead_letters_total", "Input records that are no events, by reason.", "reason"),
		lateEvents:         counter("late_events_total", "Events behind the latest of their user and type."),
		beyondEvents:       counter("late_beyond_events_total", "Events later than the lateness: judged on what is kept."),
		lag:                gauges("lag_records", "Records between the committed offset and the end of the lane's input.", "partition"),
		lagSeconds:         gauges("lag_seconds", "Age of the first record of the lane's input that is not committed; 0: there is none.", "partition"),
		transactions:       counters("transactions_total", "Transactions, by outcome: committed or failed.", "outcome"),
		transactionSeconds: histogram("transaction_duration_seconds", "From taking the parcels to the commit.", seconds),
		transactionEvents:  histogram("transaction_events", "Events in a transaction.", prometheus.ExponentialBuckets(1, 4, 10)),
		flushSeconds:       histogram("flush_duration_seconds", "From a snapshot's release to its acknowledgement, retries included.", seconds),
		flushedUsers:       counter("flushed_users_total", "User states written to Redis."),
		flushRetries:       counter("flush_retries_total", "Calls to Redis sent again because it did not take them: flushes, reads and claims."),
		dirtyUsers:         gauges("dirty_users", "Users changed since the last snapshot.", "partition"),
		cachedUsers:        gauges("cached_users", "Users in memory.", "partition"),
		cacheHits:          counter("cache_hits_total", "Events whose user was in memory."),
		cacheMisses:        counter("cache_misses_total", "Users looked up in Redis."),
		replayed:           counter("replayed_events_total", "Events applied again silently to rebuild states."),
		laneStarts:         counters("lane_starts_total", "Starts of a lane, by outcome: started or failed.", "outcome"),
		laneStartSeconds:   histogram("lane_start_duration_seconds", "From a lane's assignment, or its end, until it judges.", seconds),
		stalls:             counters("stalls_total", "Times that a lane with something to do made no progress for the stall timeout.", "partition"),
		generations:        counter("rejoins_total", "Generations of the consumer group joined."),
		lanes:              prometheus.NewGauge(prometheus.GaugeOpts{Name: "lapwing_lanes", Help: "Lanes that judge."}),
		lost:               counters("lost_records_total", "Input records (offsets) that were deleted before they were used, by use: judge, replay or rebuild.", "use"),
		fetchRetries:       counter("fetch_retries_total", "Fetches that failed and were sent again."),
		recoveries:         counters("recoveries_total", "Starts of a lane that went on although something was gone or changed from outside, by cause.", "cause"),
		stoppedLanes:       gauges("stopped_lanes", "Lanes that stand still until somebody acts, by cause.", "cause"),
		stopped:            make(map[int32]cause),
	}
	for _, use := range []string{lostReplay, lostJudge, lostRebuild} {
		m.lost.WithLabelValues(use)
	}
	for _, c := range causes {
		m.recoveries.WithLabelValues(string(c))
		m.stoppedLanes.WithLabelValues(string(c))
	}
	if r != nil {
		r.MustRegister(m.events, m.results, m.tombstones, m.forwarded, m.alerts, m.deadLetters, m.lateEvents, m.beyondEvents, m.lag, m.lagSeconds,
			m.transactions, m.transactionSeconds, m.transactionEvents, m.flushSeconds, m.flushedUsers, m.flushRetries,
			m.dirtyUsers, m.cachedUsers, m.cacheHits, m.cacheMisses, m.replayed, m.laneStarts, m.laneStartSeconds, m.stalls, m.generations, m.lanes,
			m.lost, m.fetchRetries, m.recoveries, m.stoppedLanes)
	}
	return m
}

// registerReady registers what /readyz says.
func registerReady(r prometheus.Registerer, ready func() (bool, string)) {
	if r == nil {
		return
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lapwing_ready", Help: "1 while /readyz of the engine answers 200, else 0.",
	}, func() float64 {
		if ok, _ := ready(); ok {
			return 1
		}
		return 0
	}))
}

// stop notes what the lane stands still for; "": it does not.
func (m *metrics) stop(lane int32, why cause) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped[lane] == why {
		return
	}
	if former, ok := m.stopped[lane]; ok {
		m.stoppedLanes.WithLabelValues(string(former)).Dec()
		delete(m.stopped, lane)
	}
	if why != "" {
		m.stoppedLanes.WithLabelValues(string(why)).Inc()
		m.stopped[lane] = why
	}
}

// forget removes the gauges of a lane that this member no longer owns.
func (m *metrics) forget(lane int32) {
	label := strconv.Itoa(int(lane))
	for _, g := range []*prometheus.GaugeVec{m.lag, m.lagSeconds, m.dirtyUsers, m.cachedUsers} {
		g.DeleteLabelValues(label)
	}
	m.stop(lane, "")
}
