package main

import (
	"fmt"
	"path"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// Where the chart is, and what the tests and the plain manifests install it as.
const (
	chartDir  = "lapwing"
	release   = "lapwing"
	namespace = "default"
)

// render does what helm template does: it returns the chart's manifests by the name of their template's file, those
// without content left out. The values go before the chart's own, and its schema is applied to both.
func render(values map[string]any) (map[string]string, error) {
	chart, err := loader.LoadDir(chartDir)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", chartDir, err)
	}
	options := chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, values, options, nil)
	if err != nil {
		return nil, fmt.Errorf("values of chart %s: %w", chartDir, err)
	}
	rendered, err := engine.Render(chart, all)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", chartDir, err)
	}
	files := make(map[string]string)
	for name, text := range rendered {
		text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "---"))
		if path.Ext(name) == ".yaml" && text != "" {
			files[path.Base(name)] = text + "\n"
		}
	}
	return files, nil
}
