package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/httpd"
)

// The table of metrics, the dashboard and the alert rules name metrics: these tests go from what the binary registers.

// describer is a registerer that only notes what is registered: a vector without series does not show when gathered.
type describer struct{ columns map[string]string } // by name: the type and the labels, as the table of metrics has them

var description = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

// Register implements prometheus.Registerer.
func (d *describer) Register(c prometheus.Collector) error {
	descriptions := make(chan *prometheus.Desc)
	go func() { c.Describe(descriptions); close(descriptions) }()
	for desc := range descriptions {
		m := description.FindStringSubmatch(desc.String())
		column := kindOf(c)
		for label := range strings.FieldsFuncSeq(m[2], func(r rune) bool { return r == ',' }) {
			column += ", `" + label + "`"
		}
		if d.columns == nil {
			d.columns = map[string]string{}
		}
		d.columns[m[1]] = column
	}
	return nil
}

// kindOf returns the type of what a collector collects.
func kindOf(c prometheus.Collector) string {
	switch c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.GaugeVec:
		return "gauge"
	case *prometheus.HistogramVec:
		return "histogram"
	}
	var m dto.Metric
	if err := c.(prometheus.Metric).Write(&m); err != nil {
		return err.Error()
	}
	switch {
	case m.Counter != nil:
		return "counter"
	case m.Gauge != nil:
		return "gauge"
	case m.Histogram != nil:
		return "histogram"
	}
	return "unknown"
}

// MustRegister implements prometheus.Registerer.
func (d *describer) MustRegister(collectors ...prometheus.Collector) {
	for _, c := range collectors {
		_ = d.Register(c) // never fails
	}
}

// Unregister implements prometheus.Registerer.
func (d *describer) Unregister(prometheus.Collector) bool { return false }

// registeredMetrics returns what an engine and a gateway register.
func registeredMetrics(t *testing.T) map[string]string {
	t.Helper()
	var d describer
	servers, err := httpd.NewMetrics(&d)
	if err != nil {
		t.Fatal(err)
	}
	_, closeEngine, err := NewConfig().engine(slog.New(slog.DiscardHandler), &d, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeEngine()
	_, closeGateway, err := NewConfig().gateway(slog.New(slog.DiscardHandler), &d, servers, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeGateway()
	if _, _, err := NewConfig().tracer(slog.New(slog.DiscardHandler), &d); err != nil {
		t.Fatal(err)
	}
	return d.columns
}

var metricName = regexp.MustCompile(`lapwing_[a-z_]+`)

// metricsIn returns the metrics that a text names; a histogram's series count as it.
func metricsIn(text string, registered map[string]string) (names []string) {
	for _, name := range metricName.FindAllString(text, -1) {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && strings.HasPrefix(registered[base], "histogram") {
				name = base
			}
		}
		names = append(names, name)
	}
	return names
}

func readRepository(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(rootDir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestMetricsTable: the table of metrics has each that is registered, once, with its type and its labels, and something to
// do about it, and nothing else.
func TestMetricsTable(t *testing.T) {
	registered := registeredMetrics(t)
	_, section, _ := strings.Cut(readRepository(t, "deploy/README.md"), "\n## Metrics\n")
	section, _, _ = strings.Cut(section, "\n## ")
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(lapwing_[a-z_]+)` \\| ([^|]*) \\| ([^|]*) \\| ([^|]*) \\|$").FindAllStringSubmatch(section, -1) {
		name, column := row[1], row[2]
		if listed[name] {
			t.Errorf("%s is listed twice", name)
		}
		listed[name] = true
		if want, ok := registered[name]; !ok || column != want {
			t.Errorf("%s is listed as %q, registered is %q", name, column, want)
		}
		if row[3] == "" || row[4] == "" {
			t.Errorf("%s: the meaning or what to do is missing", name)
		}
	}
	for name := range registered {
		if !listed[name] {
			t.Errorf("%s is registered and not listed", name)
		}
	}
	for _, name := range documents {
		for _, metric := range metricsIn(readDocument(t, name).text, registered) {
			if registered[metric] == "" {
				t.Errorf("%s names the metric %s, which is not registered", name, metric)
			}
		}
	}
}

// TestMetricLabels: the labels are of a few kinds, each of which is bounded by the partitions, the rules or the code.
func TestMetricLabels(t *testing.T) {
	bounded := []string{"partition", "code", "reason", "outcome", "use", "cause", "fate", "listener"}
	for name, column := range registeredMetrics(t) {
		for _, m := range inlineCode.FindAllStringSubmatch(column, -1) {
			if !slices.Contains(bounded, m[1]) {
				t.Errorf("%s has the label %s: is it bounded?", name, m[1])
			}
		}
	}
}

// dashboardQueries returns the queries of the dashboard by panel.
func dashboardQueries(t *testing.T) map[string][]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readRepository(t, "deploy/grafana/lapwing.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := map[string][]string{}
	for _, p := range dashboard.Panels {
		for _, q := range p.Targets {
			queries[p.Title] = append(queries[p.Title], q.Expr)
		}
	}
	return queries
}

// alertQueries returns those of the alert rules by name.
func alertQueries(t *testing.T) map[string]string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal([]byte(readRepository(t, "deploy/prometheus/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			queries[r.Alert] = r.Expr
		}
	}
	return queries
}

var (
	selectorOf = regexp.MustCompile(`(lapwing_[a-z_]+)\{([^}]*)\}`)
	labelOf    = regexp.MustCompile(`(?:^|,)\s*([a-z_]+)\s*[=!]`)
	groupingOf = regexp.MustCompile(`by \(([^)]*)\)`)
)

// checkSelectors reports metrics that are not registered, and labels that a metric does not have.
func checkSelectors(t *testing.T, where, text string, registered map[string]string) {
	t.Helper()
	for _, name := range metricsIn(text, registered) {
		if registered[name] == "" {
			t.Errorf("%s asks for %s, which is not registered", where, name)
		}
	}
	for _, s := range selectorOf.FindAllStringSubmatch(text, -1) {
		name := metricsIn(s[1], registered)[0]
		for _, l := range labelOf.FindAllStringSubmatch(s[2], -1) {
			if l[1] != "job" && l[1] != "instance" && !strings.Contains(registered[name], "`"+l[1]+"`") {
				t.Errorf("%s asks for the label %s of %s, which has %q", where, l[1], name, registered[name])
			}
		}
	}
}

// checkQuery does the same of a query, and of the labels that it groups by.
func checkQuery(t *testing.T, where, query string, registered map[string]string) {
	t.Helper()
	checkSelectors(t, where, query, registered)
	for _, by := range groupingOf.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(by[1], ", ") {
			has := func(name string) bool { return strings.Contains(registered[name], "`"+label+"`") }
			if label != "job" && label != "instance" && label != "le" && !slices.ContainsFunc(metricsIn(query, registered), has) {
				t.Errorf("%s groups by %s, which no metric of it has: %s", where, label, query)
			}
		}
	}
}

// TestMetricsSeen: the dashboard has every metric, and neither it nor the alert rules nor their tests ask for one that is
// not there, or for a label that it does not have.
func TestMetricsSeen(t *testing.T) {
	registered := registeredMetrics(t)
	var shown []string
	for title, queries := range dashboardQueries(t) {
		for _, q := range queries {
			checkQuery(t, "the panel "+title, q, registered)
			shown = append(shown, metricsIn(q, registered)...)
		}
	}
	for name := range registered {
		if !slices.Contains(shown, name) {
			t.Errorf("no panel shows %s", name)
		}
	}
	alerts := alertQueries(t)
	if len(alerts) < 10 {
		t.Errorf("%d alerts are found", len(alerts))
	}
	for name, q := range alerts {
		checkQuery(t, "the alert "+name, q, registered)
	}
	checkSelectors(t, "deploy/prometheus/alerts_test.yml", readRepository(t, "deploy/prometheus/alerts_test.yml"), registered)
}

// promQuery asks Prometheus for the samples of a query, now.
func promQuery(t *testing.T, prom, query string) (values []string) {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Value [2]any
			}
		}
	}
	promGet(t, prom+"/api/v1/query?query="+url.QueryEscape(query), &answer)
	if answer.Status != "success" {
		t.Fatalf("%s: %s %s", query, answer.Status, answer.Error)
	}
	for _, r := range answer.Data.Result {
		values = append(values, fmt.Sprint(r.Value[1]))
	}
	return values
}

func promGet(t *testing.T, address string, into any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", address, err, text)
	}
}

// prometheusConfig writes the shipped configuration, but that it scrapes the target alone, each second, and returns the
// file's name.
func prometheusConfig(t *testing.T, target string) string {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal([]byte(readRepository(t, "deploy/prometheus/prometheus.yml")), &config); err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs(filepath.Join(rootDir, "deploy/prometheus/alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	config["rule_files"] = []string{rules}
	config["global"] = map[string]string{"scrape_interval": "1s", "evaluation_interval": "1s"}
	jobs := config["scrape_configs"].([]any)
	jobs[0].(map[string]any)["static_configs"] = []any{map[string]any{"targets": []string{target}}}
	config["scrape_configs"] = jobs[:1] // lapwing dev has one endpoint for engine and gateway
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// startPrometheus runs Prometheus on loopback until the test ends, and returns its URL.
func startPrometheus(t *testing.T, target string) string {
	t.Helper()
	log, address := new(lockedBuffer), fmt.Sprintf("127.0.0.1:%d", consumertest.FreePort(t))
	command := exec.Command(consumertest.Tool(t, "prometheus"), "--config.file="+prometheusConfig(t, target),
		"--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+address)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("Prometheus did not end within 20s of a SIGTERM")
			_ = command.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("Prometheus said:\n%s", log)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		response, err := http.Get("http://" + address + "/-/ready")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return "http://" + address
			}
		}
		select {
		case <-ended:
			t.Fatalf("Prometheus ended:\n%s", log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("Prometheus is not ready after 30s: %v", err)
		}
	}
}

// promWithin waits until a query has the values.
func promWithin(t *testing.T, prom, query string, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		got := promQuery(t, prom, query)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 30s %s is %q, want %q", query, got, want)
		}
	}
}

// TestPrometheus has a real Prometheus, with the shipped configuration and alert rules, scrape a running engine and gateway:
// the target is up, every query of the dashboard is answered, those of what has happened with values, and nothing alerts.
func TestPrometheus(t *testing.T) {
	skipShort(t)
	consumertest.Tool(t, "prometheus")
	admin := fmt.Sprintf("127.0.0.1:%d", consumertest.FreePort(t))
	_, gateway := startDev(t, "--admin", admin)
	prom := startPrometheus(t, admin)
	promWithin(t, prom, `up{job="lapwing"}`, "1")
	promWithin(t, prom, "lapwing_ready", "1")
	promWithin(t, prom, "lapwing_gateway_ready", "1")
	for i := range 5 { // over several scrapes, so that there are rates
		if status, answer := post(t, gateway, fmt.Sprintf(`{"type":"withdraw","amount":"150","user_id":1,"time":%d}`, i)); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		time.Sleep(time.Second)
	}
	promWithin(t, prom, `lapwing_events_total{job="lapwing"}`, "5")
	promWithin(t, prom, `lapwing_alerts_total{code="1100"}`, "5")
	promWithin(t, prom, `lapwing_lag_records{partition="0"}`, "0")
	promWithin(t, prom, `lapwing_lag_seconds{partition="0"}`, "0")

	variables := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$job", "lapwing.*", "$instance", ".+")
	const empty = "Dead letters by reason" // nothing of it has happened
	for title, queries := range dashboardQueries(t) {
		for _, q := range queries {
			if values := promQuery(t, prom, variables.Replace(q)); len(values) == 0 && title != empty {
				t.Errorf("the panel %s is empty: %s", title, q)
			}
		}
	}
	nothingAlerts(t, prom)
}

// nothingAlerts waits until Prometheus has evaluated all alert rules, and checks that none is pending or firing.
func nothingAlerts(t *testing.T, prom string) {
	t.Helper()
	type rule struct{ Name, State, Health, LastError string }
	var rules []rule
	evaluated := func() bool {
		var answer struct {
			Data struct{ Groups []struct{ Rules []rule } }
		}
		promGet(t, prom+"/api/v1/rules?type=alert", &answer)
		rules = nil
		for _, g := range answer.Data.Groups {
			rules = append(rules, g.Rules...)
		}
		return len(rules) > 0 && !slices.ContainsFunc(rules, func(r rule) bool { return r.Health == "unknown" })
	}
	for deadline := time.Now().Add(30 * time.Second); !evaluated(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 30s not all rules are evaluated: %+v", rules)
		}
	}
	for _, r := range rules {
		if r.Health != "ok" || r.State != "inactive" {
			t.Errorf("the alert %s is %s and %s %s", r.Name, r.State, r.Health, r.LastError)
		}
	}
	if want := len(alertQueries(t)); len(rules) != want {
		t.Errorf("Prometheus knows %d alerts, want %d", len(rules), want)
	}
}
