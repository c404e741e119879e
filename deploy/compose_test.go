package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

const (
	imageName    = "lapwing-test/lapwing:dev"
	imageVersion = "v0.0.0-test"
	// noGrafana are the services that can be started where no image can be pulled: Grafana's cannot be built from what
	// Debian has.
	noGrafana = "kafka redis engine-1 engine-2 gateway prometheus"
	// portsOfTheirOwn lets the engine choose the published ports, so that a test meets no other's.
	portsOfTheirOwn = `
services:
  engine-1: {ports: !override ["127.0.0.1::9644"]}
  engine-2: {ports: !override ["127.0.0.1::9644"]}
  gateway: {ports: !override ["127.0.0.1::5001"]}
  prometheus: {ports: !override ["127.0.0.1::9090"]}
  kafka: {ports: !override []}
  redis: {ports: !override []}
  grafana: {ports: !override []}
`
)

// command runs a program in the folder of the repository, and returns what it prints.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir, c.Env = "..", append(os.Environ(), "GOFLAGS=-pgo=off", "MAKEFLAGS=", "LAPWING_IMAGE="+imageName)
	var problems bytes.Buffer
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &problems)
	}
	return strings.TrimSpace(string(out))
}

// makeImage builds the image as an operator does, but without the profile, which takes minutes.
func makeImage(t *testing.T) {
	t.Helper()
	consumertest.Compose(t)
	consumertest.Tool(t, "make")
	command(t, "make", "image", "IMAGE="+imageName, "VERSION="+imageVersion)
}

// TestImage: the image has one static program, the configuration and certificate authorities, and runs without root.
func TestImage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the image")
	}
	makeImage(t)
	if user := command(t, "docker", "image", "inspect", "--format", "{{.Config.User}}", imageName); user != "65532:65532" {
		t.Errorf("the program runs as %q", user)
	}
	if got, want := command(t, "docker", "run", "--rm", "--read-only", imageName, "version"), "lapwing "+imageVersion+" "; !strings.HasPrefix(got, want) {
		t.Errorf("version prints %q, want %q first", got, want)
	}

	id := command(t, "docker", "create", imageName)
	defer func() { command(t, "docker", "rm", id) }()
	var files []string
	content := tar.NewReader(strings.NewReader(rawOutput(t, "docker", "export", id)))
	for {
		h, err := content.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || h.Size == 0 { // The engine's own folders, and files that it mounts over.
			continue
		}
		files = append(files, h.Name)
		if h.Name != "lapwing" {
			continue
		}
		program, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Error("the program is not static")
			}
		}
	}
	slices.Sort(files)
	want := []string{"etc/lapwing/lapwing.yaml", "etc/lapwing/rules.yaml", "etc/ssl/certs/ca-certificates.crt", "lapwing"}
	if !slices.Equal(files, want) {
		t.Errorf("the image has %q, want %q", files, want)
	}
}

// rawOutput is command without a line's end cut.
func rawOutput(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}

// stack is compose.yaml, started.
type stack struct {
	t     *testing.T
	files []string
}

func (s *stack) compose(args ...string) string {
	s.t.Helper()
	return command(s.t, "docker", slices.Concat([]string{"compose", "--project-name", "lapwing-test"}, s.files, args)...)
}

// url returns where a service's port is published.
func (s *stack) url(service, port string) string {
	s.t.Helper()
	return "http://" + s.compose("port", service, port)
}

// get returns the body of an answer 200; else what is wrong.
func get(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}

// until asks again until it is so, for a minute at most.
func until(t *testing.T, what string, so func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := so()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute: %v", what, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// judged sends an event through the gateway, once, and wants its answer.
func (s *stack) judged(gateway, event, want string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, gateway+"/event", strings.NewReader(event))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if got := strings.TrimSpace(string(body)); response.StatusCode != http.StatusOK || got != want {
		s.t.Errorf("%s is answered %s %s, want %s", event, response.Status, got, want)
	}
}

// samples asks Prometheus for a query, and returns the values by instance.
func samples(ctx context.Context, prometheus, query string) (map[string]string, error) {
	body, err := get(ctx, prometheus+"/api/v1/query?query="+url.QueryEscape(query))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, r := range answer.Data.Result {
		values[r.Metric["instance"]] = fmt.Sprint(r.Value[1])
	}
	return values, nil
}

// wantSamples waits until a query gives just these values.
func wantSamples(t *testing.T, prometheus, query string, want map[string]string) {
	t.Helper()
	until(t, query, func() error {
		got, err := samples(t.Context(), prometheus, query)
		if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
			err = fmt.Errorf("%v, want %v", got, want)
		}
		return err
	})
}

// TestCompose starts compose.yaml for real, with all services but Grafana: events are judged through the gateway, the
// state survives an engine that is killed, Prometheus scrapes all by the shipped configuration, and what is stopped ends
// cleanly. Kafka, Redis and Prometheus are the images that deploy/local/images builds, where KAFKA_IMAGE and so on say so.
func TestCompose(t *testing.T) {
	if testing.Short() {
		t.Skip("starts seven containers")
	}
	makeImage(t)
	override := filepath.Join(t.TempDir(), "override.yaml")
	if err := os.WriteFile(override, []byte(portsOfTheirOwn), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &stack{t, []string{"--file", "deploy/compose.yaml", "--file", override}}
	t.Cleanup(func() {
		// A context of its own: the test's has ended.
		down := exec.Command("docker", "compose", "--project-name", "lapwing-test", "down", "--volumes", "--timeout", "1")
		if out, err := down.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	s.compose("config", "--quiet") // Grafana is read, too.
	s.compose(append([]string{"up", "--wait", "--wait-timeout", "180"}, strings.Fields(noGrafana)...)...)

	gateway, prometheus := s.url("gateway", "5001"), s.url("prometheus", "9090")
	engine := map[string]string{"engine-1": s.url("engine-1", "9644"), "engine-2": s.url("engine-2", "9644")}
	lanes := regexp.MustCompile(`(?m)^lapwing_lanes (\d+)$`)
	haveLanes := func(name, want string) {
		t.Helper()
		until(t, "lanes of "+name, func() error {
			body, err := get(t.Context(), engine[name]+"/metrics")
			if err != nil {
				return err
			}
			if m := lanes.FindStringSubmatch(body); m == nil || m[1] != want {
				return fmt.Errorf("%q, want %s", m, want)
			}
			_, err = get(t.Context(), engine[name]+"/readyz")
			return err
		})
	}
	haveLanes("engine-1", "3")
	haveLanes("engine-2", "3")

	s.judged(gateway, `{"type":"withdraw","amount":"100.01","user_id":3,"time":10}`, `{"alert":true,"alert_codes":[1100],"user_id":3}`)
	s.judged(gateway, `{"type":"withdraw","amount":"1.00","user_id":3,"time":20}`, `{"alert":false,"alert_codes":[],"user_id":3}`)

	up := map[string]string{"engine-1:9644": "1", "engine-2:9644": "1", "gateway:9644": "1"}
	wantSamples(t, prometheus, "up", up)
	wantSamples(t, prometheus, "lapwing_ready or lapwing_gateway_ready", up)
	wantSamples(t, prometheus, "sum(lapwing_events_total)", map[string]string{"": "2"})
	wantSamples(t, prometheus, `ALERTS{alertstate="firing"}`, map[string]string{})
	body, err := get(t.Context(), prometheus+"/api/v1/rules")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(body, `"type":"alerting"`), len(readAlerts(t)); got != want {
		t.Errorf("Prometheus has %d alerts, alerts.yml %d", got, want)
	}

	// The third in a row is seen by whichever engine is left, from the state that the first two made.
	s.compose("kill", "engine-1")
	haveLanes("engine-2", "6")
	s.judged(gateway, `{"type":"withdraw","amount":"1.00","user_id":3,"time":30}`, `{"alert":true,"alert_codes":[30],"user_id":3}`)

	s.compose("stop", "engine-2", "gateway")
	for _, name := range []string{"engine-2", "gateway"} {
		if code := command(t, "docker", "inspect", "--format", "{{.State.ExitCode}}", s.compose("ps", "--all", "--quiet", name)); code != "0" {
			t.Errorf("%s ended with exit code %s:\n%s", name, code, s.compose("logs", "--tail", "20", name))
		}
	}
}
