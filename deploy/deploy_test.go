// Package deploy has no code: its tests look after the files beside them.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// service is what the tests look at of a service in compose.yaml; unknown keys are allowed.
type service struct {
	Image       string            `yaml:"image"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

type compose struct {
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
}

func readCompose(t *testing.T) compose {
	t.Helper()
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c compose
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestComposeServices(t *testing.T) {
	c := readCompose(t)
	for _, name := range []string{"engine-1", "engine-2", "gateway", "kafka", "redis", "prometheus", "grafana"} {
		if c.Services[name].Image == "" {
			t.Errorf("service %s is missing or has no image", name)
		}
	}
	for name, s := range c.Services {
		for on, how := range s.DependsOn {
			if how.Condition == "service_healthy" && c.Services[on].Healthcheck.Test == nil {
				t.Errorf("%s waits for the health of %s, which has no health check", name, on)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, port)
			}
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, named := c.Volumes[source]; named {
				continue
			}
			if _, err := os.Stat(source); err != nil {
				t.Errorf("%s mounts %s: %v", name, source, err)
			}
		}
	}
}

// TestVariables: the variables that the files set are keys of the shipped configuration.
func TestVariables(t *testing.T) {
	known := configVariables(t)
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	set := regexp.MustCompile(`LAPWING_\w+`).FindAllString(string(dockerfile), -1)
	for _, name := range []string{"engine-1", "engine-2", "gateway"} {
		for variable := range readCompose(t).Services[name].Environment {
			set = append(set, variable)
		}
	}
	for _, variable := range set {
		if !slices.Contains(known, variable) {
			t.Errorf("%s is set, and no key of config/lapwing.yaml", variable)
		}
	}
	for _, variable := range []string{"LAPWING_KAFKA_BROKERS", "LAPWING_REDIS_ADDRS", "LAPWING_HTTP", "LAPWING_GATEWAY_LISTEN"} {
		if !slices.Contains(set, variable) {
			t.Errorf("%s is not set", variable)
		}
	}
}

// configVariables returns the environment variable of each key in the shipped configuration.
func configVariables(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("config/lapwing.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	var names []string
	var walk func(prefix string, keys map[string]any)
	walk = func(prefix string, keys map[string]any) {
		for key, value := range keys {
			name := prefix + "_" + strings.ToUpper(key)
			if nested, ok := value.(map[string]any); ok {
				walk(name, nested)
				continue
			}
			names = append(names, name)
		}
	}
	walk("LAPWING", config)
	return names
}

// TestDockerfile: no base image, and no root.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	from := regexp.MustCompile(`(?m)^FROM .*$`).FindAllString(string(text), -1)
	if !slices.Equal(from, []string{"FROM scratch"}) {
		t.Errorf("stages are %q, want scratch alone", from)
	}
	if !regexp.MustCompile(`(?m)^USER [1-9][0-9]*:[1-9][0-9]*$`).Match(text) {
		t.Error("the program would run as root")
	}
}

// TestScripts has bash read each script without running it.
func TestScripts(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skipf("no bash to read the scripts: %v", err)
	}
	scripts := []string{"../.ci/run", "local/lib.sh"}
	entries, err := filepath.Glob("local/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range entries {
		if text, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(text), "#!/usr/bin/env bash\n") {
			scripts = append(scripts, name)
		}
	}
	if len(scripts) < 7 {
		t.Fatalf("found %q alone, want up, down, kafka, engine and images among them", scripts)
	}
	for _, name := range scripts {
		if out, err := exec.CommandContext(t.Context(), "bash", "-n", name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
