package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestCheck: "lapwing check" accepts what each pod would start with, files, secrets and variables.
func TestCheck(t *testing.T) {
	lapwing := buildLapwing(t)
	everyCase(t, func(t *testing.T, _ map[string]any, objects []metav1.Object) {
		configMaps := of[*corev1.ConfigMap](t, objects)
		for name, d := range of[*appsv1.Deployment](t, objects) {
			root := t.TempDir()
			pod := d.Spec.Template.Spec
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			for _, volume := range pod.Volumes {
				folder := filepath.Join(root, mountOf(t, pod.Containers[0], volume.Name))
				if err := os.MkdirAll(folder, 0o700); err != nil {
					t.Fatal(err)
				}
				if volume.ConfigMap != nil {
					for file, text := range configMaps[volume.ConfigMap.Name].Data {
						write(t, filepath.Join(folder, file), text)
					}
					continue
				}
				for _, source := range volume.Projected.Sources {
					for _, item := range source.Secret.Items {
						write(t, filepath.Join(folder, item.Path), secret(t, item.Key, key))
					}
				}
			}
			args := pod.Containers[0].Args
			if len(args) != 3 || args[1] != "--config" {
				t.Fatalf("%s: arguments are %q", name, args)
			}
			if want := map[string]string{"engine": "run", "gateway": "gateway"}[pod.Containers[0].Name]; args[0] != want {
				t.Errorf("%s runs lapwing %s, want %s", name, args[0], want)
			}
			check := exec.CommandContext(t.Context(), lapwing, "check", "--config", filepath.Join(root, args[2]))
			var variables []string
			for _, v := range pod.Containers[0].Env {
				if strings.HasSuffix(v.Name, "_FILE") {
					v.Value = filepath.Join(root, v.Value)
				}
				check.Env = append(check.Env, v.Name+"="+v.Value)
				variables = append(variables, v.Name)
			}
			out, err := check.CombinedOutput()
			if err != nil {
				t.Errorf("%s, variables %q: %v\n%s", name, variables, err, out)
			}
			others := map[string]string{"engine": "LAPWING_GATEWAY_", "gateway": "LAPWING_REDIS_"}[pod.Containers[0].Name]
			if strings.Contains(strings.Join(variables, " "), others) {
				t.Errorf("%s has variables of the other component: %q", name, variables)
			}
		}
	})
}

// TestDefaultRules: the chart's own rules are those that are built in.
func TestDefaultRules(t *testing.T) {
	lapwing := buildLapwing(t)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, file, of[*corev1.ConfigMap](t, rendered(t, nil))["lapwing"].Data["rules.yaml"])
	hash := func(args ...string) string {
		check := exec.CommandContext(t.Context(), lapwing, append([]string{"check"}, args...)...)
		check.Env = []string{} // none of ours
		out, err := check.CombinedOutput()
		if err != nil {
			t.Fatalf("lapwing check %q: %v\n%s", args, err, out)
		}
		m := regexp.MustCompile(`(?m)^rules .* hash (\w+),`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("no hash in\n%s", out)
		}
		return string(m[1])
	}
	if chart, builtin := hash("--rules", file), hash(); chart != builtin {
		t.Errorf("the chart's rules have the hash %s, the built-in ones %s", chart, builtin)
	}
}

// buildLapwing builds the program and returns its path.
func buildLapwing(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "lapwing")
	build := exec.CommandContext(t.Context(), "go", "build", "-pgo=off", "-o", program, "./cmd/lapwing")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// mountOf returns where a container mounts a volume.
func mountOf(t *testing.T, c corev1.Container, volume string) string {
	t.Helper()
	for _, mount := range c.VolumeMounts {
		if mount.Name == volume {
			return mount.MountPath
		}
	}
	t.Fatalf("container %s does not mount the volume %s", c.Name, volume)
	return ""
}

// secret returns what a Secret might have under a key: a certificate, its key, tokens, or a password.
func secret(t *testing.T, name string, key *ecdsa.PrivateKey) string {
	t.Helper()
	encode := func(what string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: what, Bytes: der}))
	}
	switch filepath.Ext(name) {
	case ".crt":
		template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
		return encode("CERTIFICATE", der, err)
	case ".key":
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return encode("PRIVATE KEY", der, err)
	}
	if name == "tokens" {
		return "lapwing-test-secret-token\n"
	}
	return "a password\n"
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
