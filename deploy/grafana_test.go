package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// dashboard is what the tests look at of grafana/lapwing.json.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Datasource  datasource `json:"datasource"`
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct {
		RefID      string     `json:"refId"`
		Datasource datasource `json:"datasource"`
		Expr       string     `json:"expr"`
	} `json:"targets"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile("grafana/lapwing.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboard: what Grafana does not tell when it loads a dashboard. Panels have ids of their own and do not overlap;
// each query asks the chosen data source for the chosen jobs and instances.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	// 39 is the schema of Grafana 11.0; later versions raise a dashboard to their own.
	if d.UID == "" || d.Title != "Lapwing" || d.SchemaVersion != 39 {
		t.Errorf("uid %q, title %q, schema version %d", d.UID, d.Title, d.SchemaVersion)
	}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	for name, kind := range map[string]string{"datasource": "datasource", "job": "query", "instance": "query"} {
		if variables[name] != kind {
			t.Errorf("the variable %s is of the type %q, want %q", name, variables[name], kind)
		}
	}
	chosen := datasource{"prometheus", "${datasource}"}
	ids, titles, taken := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] || p.Title == "" {
			t.Errorf("the panel %q has the id %d: one of them is taken", p.Title, p.ID)
		}
		ids[p.ID], titles[p.Title] = true, p.Type != "row"
		if p.GridPos.H < 1 || p.GridPos.W < 1 || p.GridPos.X < 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("the panel %q is at %+v, beyond 24 columns", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("the panels %q and %q overlap", other, p.Title)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.Datasource != chosen || len(p.Targets) == 0 {
			t.Errorf("the panel %q has the description %q, the data source %v and %d queries", p.Title, p.Description, p.Datasource, len(p.Targets))
		}
		for _, q := range p.Targets {
			metrics := strings.Count(q.Expr, "lapwing_")
			if q.Datasource != chosen || metrics == 0 || strings.Count(q.Expr, `{job=~"$job", instance=~"$instance"`) != metrics {
				t.Errorf("the panel %q does not ask the chosen data source for the chosen jobs and instances: %v %s", p.Title, q.Datasource, q.Expr)
			}
		}
	}
}

// TestProvisioning: what compose.yaml has Grafana load is where it mounts it, and asks the Prometheus that it starts.
func TestProvisioning(t *testing.T) {
	var sources struct {
		Datasources []struct{ Type, URL string }
	}
	readYAML(t, "grafana/provisioning/datasources/prometheus.yaml", &sources)
	var dashboards struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	readYAML(t, "grafana/provisioning/dashboards/lapwing.yaml", &dashboards)
	if len(sources.Datasources) != 1 || len(dashboards.Providers) != 1 {
		t.Fatalf("%+v, %+v: want one of each", sources, dashboards)
	}
	services := readCompose(t).Services
	port := services["prometheus"].Ports[0]
	port = port[strings.LastIndex(port, ":")+1:]
	if s := sources.Datasources[0]; s.Type != "prometheus" || s.URL != "http://prometheus:"+port {
		t.Errorf("the data source is %+v", s)
	}
	grafana := services["grafana"]
	home := dashboards.Providers[0].Options.Path + "/lapwing.json"
	if got := grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]; got != home {
		t.Errorf("the first page is %s, the dashboard %s", got, home)
	}
	for _, want := range []string{"./grafana/provisioning:/etc/grafana/provisioning:ro", "./grafana/lapwing.json:" + home + ":ro"} {
		if !slices.Contains(grafana.Volumes, want) {
			t.Errorf("grafana mounts %q, want %s", grafana.Volumes, want)
		}
	}
}

// TestDashboardQueries has promtool read each query of the dashboard, as a rule.
func TestDashboardQueries(t *testing.T) {
	promtool := consumertest.Tool(t, "promtool")
	variables := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$job", ".+", "$instance", ".+")
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			rules = append(rules, rule{fmt.Sprintf("panel_%d_%s", p.ID, q.RefID), variables.Replace(q.Expr)})
		}
	}
	if len(rules) < 30 {
		t.Fatalf("%d queries are found", len(rules))
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "queries.yml")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", name).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
