// Command helm renders the chart beside it, with its default values, as plain manifests:
//
//	go run . ../kubernetes
//
// It is a module of its own, so that nothing of Helm or Kubernetes reaches the product; its tests are the chart's.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// header begins each file that is written, and tells those from others in the folder.
const header = "# Rendered from deploy/helm/lapwing with its default values, by \"make manifests\": edit a copy of it.\n"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "Usage: go run . FOLDER")
		os.Exit(2)
	}
	if err := writeManifests(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "Error: %v\n", err)
		os.Exit(1)
	}
}

// writeManifests writes the manifests to the folder, and removes those of former times that are no longer rendered.
func writeManifests(folder string) error {
	manifests, err := plainManifests()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	present, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	for _, name := range present {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, rendered := manifests[filepath.Base(name)]; rendered || !strings.HasPrefix(string(text), header) {
			continue
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, text := range manifests {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plainManifests returns what the chart gives with its default values for a release named lapwing: texts by file name.
func plainManifests() (map[string]string, error) {
	rendered, err := render(nil)
	if err != nil {
		return nil, err
	}
	manifests := make(map[string]string)
	for name, text := range rendered {
		manifests[name] = header + text
	}
	return manifests, nil
}
