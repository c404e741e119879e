package deploy

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// alertRule is a rule of prometheus/alerts.yml.
type alertRule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// readYAML reads a file of this folder.
func readYAML(t *testing.T, name string, into any) (text string) {
	t.Helper()
	bytes, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(bytes, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(bytes)
}

func readAlerts(t *testing.T) (alerts []alertRule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []alertRule `yaml:"rules"`
		} `yaml:"groups"`
	}
	readYAML(t, "prometheus/alerts.yml", &file)
	for _, g := range file.Groups {
		alerts = append(alerts, g.Rules...)
	}
	if len(alerts) < 10 {
		t.Fatalf("%d alerts are found", len(alerts))
	}
	return alerts
}

// TestPromtool has Prometheus' own tool check the configuration and the rules, and run the rules' tests.
func TestPromtool(t *testing.T) {
	promtool := consumertest.Tool(t, "promtool")
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"}, {"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"},
	} {
		command := exec.CommandContext(t.Context(), promtool, args...)
		command.Dir = "prometheus"
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestAlerts: each alert says what an operator needs, has a section in README.md in the same order, and a test in which it
// fires.
func TestAlerts(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Alerts\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var headings, names []string
	for _, part := range strings.Split(section, "\n### ")[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		headings = append(headings, heading)
		for _, want := range []string{"**Meaning.** ", "**Cause.** ", "**What to do.** "} {
			if strings.Count(text, "\n"+want) != 1 {
				t.Errorf("README.md: the section %s has no paragraph %q, or several", heading, want)
			}
		}
	}
	tests := readYAML(t, "prometheus/alerts_test.yml", new(any))
	for _, a := range readAlerts(t) {
		names = append(names, a.Alert)
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has the severity %q", a.Alert, s)
		}
		for _, annotation := range []string{"summary", "description"} {
			if a.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", a.Alert, annotation)
			}
		}
		if want := "https://github.com/lapwing/lapwing/blob/main/deploy/README.md#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s has the runbook %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
		}
		if a.For == "" && !strings.Contains(a.Expr, "increase(") { // a counter's step stays for its window, all else may pass
			t.Errorf("%s has no for", a.Alert)
		}
		if !regexp.MustCompile(`alertname[=:] ?"?` + a.Alert + `\b`).MatchString(tests) {
			t.Errorf("%s fires in no test", a.Alert)
		}
	}
	if !slices.Equal(headings, names) {
		t.Errorf("README.md has sections for\n%q, the alerts are\n%q", headings, names)
	}
}

// TestPrometheusTargets: what is scraped are the admin endpoints of all services of Lapwing in compose.yaml.
func TestPrometheusTargets(t *testing.T) {
	var config struct {
		ScrapeConfigs []struct {
			JobName       string `yaml:"job_name"`
			StaticConfigs []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
		RuleFiles []string `yaml:"rule_files"`
	}
	readYAML(t, "prometheus/prometheus.yml", &config)
	var targets, want []string
	for _, c := range config.ScrapeConfigs {
		if !strings.Contains(c.JobName, "lapwing") {
			t.Errorf("the alerts do not find the job %s", c.JobName)
		}
		for _, s := range c.StaticConfigs {
			targets = append(targets, s.Targets...)
		}
	}
	for name, s := range readCompose(t).Services {
		if admin, ok := s.Environment["LAPWING_HTTP"]; ok {
			_, port, err := net.SplitHostPort(admin)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, net.JoinHostPort(name, port))
		}
	}
	slices.Sort(targets)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(targets, want) {
		t.Errorf("scraped are %q, compose.yaml has %q", targets, want)
	}
	for _, name := range config.RuleFiles {
		if _, err := os.Stat(filepath.Join("prometheus", name)); err != nil {
			t.Error(err)
		}
	}
}
