package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

const unitFile = "systemd/lapwing.service"

// exposureMax is what "systemd-analyze security" may say of the unit, in tenths: of 0 (nothing is open) to 100.
const exposureMax = 15

// readUnit returns the unit's settings by section and key, each as often as it stands there.
func readUnit(t *testing.T) map[string]map[string][]string {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	unit, section := map[string]map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			unit[section] = map[string][]string{}
		case ok && section != "":
			unit[section][key] = append(unit[section][key], value)
		default:
			t.Fatalf("%s has the line %q", unitFile, line)
		}
	}
	return unit
}

// TestUnit: the unit runs the engine, gives it the time that it may take to end, and names variables that exist.
func TestUnit(t *testing.T) {
	unit := readUnit(t)
	service := unit["Service"]
	if got := service["ExecStart"]; !slices.Equal(got, []string{"/usr/local/bin/lapwing run --config /etc/lapwing/lapwing.yaml"}) {
		t.Errorf("it starts %q", got)
	}
	for key, want := range map[string][]string{
		"DynamicUser": {"yes"}, "ProtectSystem": {"strict"}, "NoNewPrivileges": {"yes"}, "Restart": {"on-failure"},
		"CapabilityBoundingSet": {""}, "SystemCallFilter": {"@system-service", "~@privileged @resources"},
	} {
		if !slices.Equal(service[key], want) {
			t.Errorf("%s is %q, want %q", key, service[key], want)
		}
	}

	stop, err := time.ParseDuration(service["TimeoutStopSec"][0])
	if err != nil {
		t.Fatal(err)
	}
	if needed := stopNeeded(t); stop < needed || stop > needed+15*time.Second {
		t.Errorf("TimeoutStopSec is %v, and the engine may take %v", stop, needed)
	}

	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	variables := regexp.MustCompile(`LAPWING_\w+`).FindAllString(string(text), -1)
	if len(variables) == 0 {
		t.Error("it does not show how a secret is given")
	}
	for _, variable := range variables {
		if known := configVariables(t); !slices.Contains(known, variable) {
			t.Errorf("%s is named, and no key of config/lapwing.yaml", variable)
		}
	}
}

// stopNeeded is how long an engine with the shipped configuration may take to end: kafka.drain_timeout, and what
// cmd/lapwing gives itself beyond it.
func stopNeeded(t *testing.T) time.Duration {
	t.Helper()
	config, err := os.ReadFile("config/lapwing.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var shipped struct {
		Kafka struct {
			DrainTimeout string `yaml:"drain_timeout"`
		} `yaml:"kafka"`
	}
	if err := yaml.Unmarshal(config, &shipped); err != nil {
		t.Fatal(err)
	}
	drain, err := time.ParseDuration(shipped.Kafka.DrainTimeout)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("../cmd/lapwing/serve.go")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^const stopGrace = (\d+) \* time\.Millisecond$`).FindSubmatch(source)
	if m == nil {
		t.Fatal("cmd/lapwing/serve.go does not say const stopGrace = N * time.Millisecond any more; teach this test")
	}
	grace, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return drain + time.Duration(grace)*time.Millisecond
}

// TestUnitAnalyzed has systemd itself read the unit, and judge how much of the machine it leaves open.
func TestUnitAnalyzed(t *testing.T) {
	analyze := consumertest.Tool(t, "systemd-analyze")
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// The program is not installed here: any file that can be run stands for it.
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "lapwing.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(string(text), "=/usr/local/bin/lapwing ", "="+program+" ", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "--man=no", unit},
		{"security", "--offline=true", "--threshold=" + strconv.Itoa(exposureMax), unit},
	} {
		out, err := exec.CommandContext(t.Context(), analyze, args...).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze %q: %v\n%s", args, err, out)
		}
		if args[0] == "verify" && strings.Contains(string(out), unit) {
			t.Errorf("systemd-analyze verify:\n%s", out)
		}
	}
}
