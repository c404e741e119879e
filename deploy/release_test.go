package deploy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

const releaseVersion = "v1.2.3-test"

// release runs "make release" in a checkout for this platform, without the profile (it takes minutes), and returns the
// folder of what came of it.
func release(t *testing.T, checkout string) string {
	t.Helper()
	folder := t.TempDir()
	run := exec.CommandContext(t.Context(), "make", "release", "VERSION="+releaseVersion, "RELEASE_DIR="+folder,
		"PLATFORMS="+runtime.GOOS+"/"+runtime.GOARCH)
	run.Dir = checkout
	run.Env = append(os.Environ(), "GOFLAGS=-pgo=off", "MAKEFLAGS=")
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("make release: %v\n%s", err, out)
	}
	return folder
}

// TestRelease: a release is whole, says what it is and what is in it, and another checkout gives the same bytes.
func TestRelease(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program twice, from the ground up")
	}
	consumertest.Tool(t, "make")
	folder := release(t, "..")
	program := filepath.Join(folder, "lapwing-"+releaseVersion+"-"+runtime.GOOS+"-"+runtime.GOARCH)

	sums := checkSums(t, folder)
	if want := []string{filepath.Base(program), filepath.Base(program) + ".cdx.json"}; !slices.Equal(slices.Sorted(maps.Keys(sums)), want) {
		t.Errorf("there are sums of %q, want %q", slices.Sorted(maps.Keys(sums)), want)
	}

	out, err := exec.CommandContext(t.Context(), program, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "lapwing " + releaseVersion + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"; string(out) != want {
		t.Errorf("version prints %q, want %q", out, want)
	}

	if got, want := billed(t, program+".cdx.json"), linked(t); !slices.Equal(got, want) {
		t.Errorf("the bill of materials names\n%s\nlinked are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	if again := checkSums(t, release(t, copyCheckout(t))); !maps.Equal(again, sums) {
		t.Errorf("a copy of the checkout gives other bytes: %v, and %v", again, sums)
	}
}

// checkSums checks SHA256SUMS against every other file of the folder, and returns it.
func checkSums(t *testing.T, folder string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok {
			t.Fatalf("SHA256SUMS has the line %q", line)
		}
		listed[name] = sum
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		if e.Name() == "SHA256SUMS" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		found[e.Name()] = hex.EncodeToString(sum[:])
	}
	if !maps.Equal(listed, found) {
		t.Errorf("SHA256SUMS says %v, the files have %v", listed, found)
	}
	return listed
}

// billed returns the modules of a CycloneDX bill of materials, "path version", sorted.
func billed(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		Format   string `json:"bomFormat"`
		Metadata struct {
			Component struct {
				Name    string `json:"name"`
				Version string `json:"version"`
			} `json:"component"`
		} `json:"metadata"`
		Components []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			PURL    string `json:"purl"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &bill); err != nil {
		t.Fatal(err)
	}
	if main := bill.Metadata.Component; bill.Format != "CycloneDX" || main.Name != "github.com/lapwing/lapwing" || main.Version != releaseVersion {
		t.Errorf("the bill is %s, of %s %s", bill.Format, main.Name, main.Version)
	}
	var modules []string
	for _, c := range bill.Components {
		if !strings.HasPrefix(c.PURL, "pkg:golang/"+c.Name+"@"+c.Version) {
			t.Errorf("%s %s has the package URL %q", c.Name, c.Version, c.PURL)
		}
		modules = append(modules, c.Name+" "+c.Version)
	}
	slices.Sort(modules)
	return modules
}

// linked returns what Go's own list of the program's packages says: their modules, and the standard library.
func linked(t *testing.T) []string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/lapwing")
	list.Dir = ".."
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := []string{"std " + runtime.Version()}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if lines.Text() != "" {
			modules = append(modules, lines.Text())
		}
	}
	slices.Sort(modules)
	return slices.Compact(modules)
}

// copyCheckout copies what a release is built of to another folder.
func copyCheckout(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"cmd", "consumer", "rules", "state"} {
		if err := os.CopyFS(filepath.Join(folder, name), os.DirFS(filepath.Join("..", name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"Makefile", "go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
