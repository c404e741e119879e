package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// everyCase runs a test with the objects of each values file.
func everyCase(t *testing.T, test func(t *testing.T, values map[string]any, objects []metav1.Object)) {
	t.Helper()
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) { test(t, values, rendered(t, values)) })
	}
}

func TestLint(t *testing.T) {
	version := &chartutil.KubeVersion{Version: "v1.34.0", Major: "1", Minor: "34"}
	for name, values := range cases(t) {
		if values == nil {
			values = map[string]any{}
		}
		for _, message := range lint.AllWithKubeVersion(chartDir, values, namespace, version).Messages {
			if message.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, message)
			}
		}
	}
}

// TestObjects: which objects there are, so that no other test is content with none.
func TestObjects(t *testing.T) {
	want := map[string]string{
		"default": "ConfigMap lapwing, Deployment lapwing-engine, NetworkPolicy lapwing-engine, PodDisruptionBudget lapwing-engine, " +
			"Service lapwing-metrics, ServiceAccount lapwing",
		"minimal": "ConfigMap lapwing, Deployment lapwing-engine, Service lapwing-metrics",
		"everything": "ConfigMap alerts, Deployment alerts-engine, Deployment alerts-gateway, HorizontalPodAutoscaler alerts-engine, " +
			"NetworkPolicy alerts-engine, NetworkPolicy alerts-gateway, PodDisruptionBudget alerts-engine, " +
			"PodDisruptionBudget alerts-gateway, Service alerts-gateway, Service alerts-metrics, " +
			"ServiceAccount alerts-of-lapwing, ServiceMonitor alerts",
		"sentinel": "ConfigMap lapwing, Deployment lapwing-engine, NetworkPolicy lapwing-engine, PodDisruptionBudget lapwing-engine, " +
			"ScaledObject lapwing-engine, Service lapwing-metrics, ServiceAccount lapwing",
		"cluster": "ConfigMap lapwing, Deployment lapwing-engine, Deployment lapwing-gateway, HorizontalPodAutoscaler lapwing-engine, " +
			"NetworkPolicy lapwing-engine, NetworkPolicy lapwing-gateway, PodDisruptionBudget lapwing-engine, " +
			"PodDisruptionBudget lapwing-gateway, Service lapwing-gateway, Service lapwing-metrics, ServiceAccount lapwing",
	}
	all := cases(t)
	if !slices.Equal(slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(want))) {
		t.Errorf("values are %q, known are %q", slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(want)))
	}
	for name, values := range all {
		var got []string
		for _, object := range rendered(t, values) {
			got = append(got, object.(interface{ GetObjectKind() schema.ObjectKind }).GetObjectKind().GroupVersionKind().Kind+" "+object.GetName())
			if object.GetNamespace() != "" {
				t.Errorf("%s: %s names a namespace, which is the installer's to choose", name, object.GetName())
			}
		}
		slices.Sort(got)
		if joined := strings.Join(got, ", "); joined != want[name] {
			t.Errorf("%s has\n%s\nwant\n%s", name, joined, want[name])
		}
	}
}

// TestPods: what a Deployment's pods refer to exists, and they run with no more rights than needed.
func TestPods(t *testing.T) {
	everyCase(t, func(t *testing.T, values map[string]any, objects []metav1.Object) {
		scheme := corev1.URISchemeHTTP
		if hasAdminTLS(values) {
			scheme = corev1.URISchemeHTTPS
		}
		configMaps, accounts := of[*corev1.ConfigMap](t, objects), of[*corev1.ServiceAccount](t, objects)
		for name, d := range of[*appsv1.Deployment](t, objects) {
			template := d.Spec.Template
			if !selects(t, d.Spec.Selector, template.Labels) {
				t.Errorf("%s does not select its own pods", name)
			}
			pod := template.Spec
			if account := pod.ServiceAccountName; account != "default" && accounts[account] == nil {
				t.Errorf("%s: there is no service account %q", name, account)
			}
			if *pod.AutomountServiceAccountToken || *pod.EnableServiceLinks {
				t.Errorf("%s has a token of the cluster, or variables of its services", name)
			}
			security := pod.SecurityContext
			if !*security.RunAsNonRoot || *security.RunAsUser != 65532 || *security.RunAsGroup != 65532 ||
				security.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: security context of the pod is %v", name, security)
			}
			if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
				t.Fatalf("%s has %d containers", name, len(pod.Containers))
			}
			c := pod.Containers[0]
			if s := c.SecurityContext; *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || s.Privileged != nil ||
				!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
				t.Errorf("%s: security context of the container is %v", name, s)
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: resources are %v", name, c.Resources)
			}
			for probe, path := range map[*corev1.Probe]string{c.StartupProbe: "/healthz", c.LivenessProbe: "/healthz", c.ReadinessProbe: "/readyz"} {
				if probe.HTTPGet.Path != path || portOf(c, probe.HTTPGet.Port) != 9644 || probe.HTTPGet.Scheme != scheme {
					t.Errorf("%s: a probe asks %v, want %s on port 9644 by %s", name, probe.HTTPGet, path, scheme)
				}
			}
			for _, spread := range pod.TopologySpreadConstraints {
				if !selects(t, spread.LabelSelector, template.Labels) {
					t.Errorf("%s: pods are spread over %s among others than themselves", name, spread.TopologyKey)
				}
			}
			volumes := map[string]bool{}
			for _, volume := range pod.Volumes {
				volumes[volume.Name] = true
				if volume.ConfigMap != nil && configMaps[volume.ConfigMap.Name] == nil {
					t.Errorf("%s: there is no config map %q", name, volume.ConfigMap.Name)
				}
			}
			for _, mount := range c.VolumeMounts {
				if !volumes[mount.Name] {
					t.Errorf("%s mounts %q, which is no volume", name, mount.Name)
				}
				if !mount.ReadOnly {
					t.Errorf("%s may write to %s", name, mount.MountPath)
				}
			}
			if len(volumes) != len(c.VolumeMounts) {
				t.Errorf("%s has %d volumes and mounts %d", name, len(volumes), len(c.VolumeMounts))
			}
		}
	})
}

// hasAdminTLS reports whether values turn on TLS for the admin endpoints.
func hasAdminTLS(values map[string]any) bool {
	config, _ := values["config"].(map[string]any)
	admin, _ := config["admin"].(map[string]any)
	section, _ := admin["tls"].(map[string]any)
	return section["enabled"] == true
}

// TestGrace: Kubernetes does not kill a pod that still drains. What the process may take is the configured drain timeout
// and the grace that cmd/lapwing gives itself.
func TestGrace(t *testing.T) {
	grace := stopGrace(t)
	everyCase(t, func(t *testing.T, values map[string]any, objects []metav1.Object) {
		drains := map[string]string{"engine": "3s", "gateway": "3s"} // the chart's own
		if config, ok := values["config"].(map[string]any); ok {
			for component, section := range map[string]string{"engine": "kafka", "gateway": "gateway"} {
				if keys, ok := config[section].(map[string]any); ok && keys["drain_timeout"] != nil {
					drains[component] = keys["drain_timeout"].(string)
				}
			}
		}
		for name, d := range of[*appsv1.Deployment](t, objects) {
			pod := d.Spec.Template.Spec
			needed, err := time.ParseDuration(drains[pod.Containers[0].Name])
			if err != nil {
				t.Fatal(err)
			}
			needed += grace
			if lifecycle := pod.Containers[0].Lifecycle; lifecycle != nil {
				needed += time.Duration(lifecycle.PreStop.Sleep.Seconds) * time.Second
			}
			given := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
			if given < needed || given > needed+20*time.Second {
				t.Errorf("%s gets %v to end, and needs %v", name, given, needed)
			}
		}
	})
}

// stopGrace is the constant of that name in cmd/lapwing.
func stopGrace(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile("../../cmd/lapwing/serve.go")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^const stopGrace = (\d+) \* time\.Millisecond$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("cmd/lapwing/serve.go does not say const stopGrace = N * time.Millisecond any more; teach this test")
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * time.Millisecond
}

// TestServices: services, and what scrapes them, reach pods that have the ports.
func TestServices(t *testing.T) {
	everyCase(t, func(t *testing.T, values map[string]any, objects []metav1.Object) {
		deployments, services := of[*appsv1.Deployment](t, objects), of[*corev1.Service](t, objects)
		for name, s := range services {
			reached := selected(deployments, labels.SelectorFromSet(s.Spec.Selector))
			want := len(deployments)
			if strings.HasSuffix(name, "-gateway") {
				want = 1
			} else if !s.Spec.PublishNotReadyAddresses || s.Spec.ClusterIP != corev1.ClusterIPNone {
				t.Errorf("%s would hide pods that are not ready", name)
			}
			if len(reached) != want {
				t.Errorf("%s reaches %d deployments, want %d", name, len(reached), want)
			}
			for _, d := range reached {
				for _, port := range s.Spec.Ports {
					if got := portOf(d.Spec.Template.Spec.Containers[0], port.TargetPort); got != 9644 && port.Name == "admin" ||
						got != 5001 && port.Name == "http" {
						t.Errorf("%s sends %s to port %d of %s", name, port.Name, got, d.Name)
					}
				}
			}
		}
		for name, m := range of[*serviceMonitor](t, objects) {
			var scraped []*corev1.Service
			for _, s := range services {
				if selects(t, &m.Spec.Selector, s.Labels) {
					scraped = append(scraped, s)
				}
			}
			if len(scraped) != 1 || len(m.Spec.Endpoints) != 1 {
				t.Fatalf("%s scrapes %d services at %d endpoints", name, len(scraped), len(m.Spec.Endpoints))
			}
			e := m.Spec.Endpoints[0]
			if hasAdminTLS(values) != (e.Scheme == "https") || hasAdminTLS(values) != (e.TLSConfig != nil) || e.Authorization == nil ||
				e.Authorization.Credentials.Name != "lapwing-prometheus" || e.TLSConfig.CA.Secret.Key != "ca.crt" {
				t.Errorf("%s scrapes by %q with %v and %v", name, e.Scheme, e.TLSConfig, e.Authorization)
			}
			if e.Port != scraped[0].Spec.Ports[0].Name || e.Path != "/metrics" {
				t.Errorf("%s scrapes %s of port %s", name, e.Path, e.Port)
			}
		}
	})
}

// TestGuards: each budget and each policy is for one Deployment, and a policy names ports that its pods have.
func TestGuards(t *testing.T) {
	everyCase(t, func(t *testing.T, _ map[string]any, objects []metav1.Object) {
		deployments := of[*appsv1.Deployment](t, objects)
		only := func(name string, selector *metav1.LabelSelector) corev1.Container {
			parsed, err := metav1.LabelSelectorAsSelector(selector)
			if err != nil {
				t.Fatal(err)
			}
			found := selected(deployments, parsed)
			if len(found) != 1 || found[0].Name != name {
				t.Fatalf("%s is for %d deployments, want the one of its name", name, len(found))
			}
			return found[0].Spec.Template.Spec.Containers[0]
		}
		for name, b := range of[*policyv1.PodDisruptionBudget](t, objects) {
			only(name, b.Spec.Selector)
			if b.Spec.MaxUnavailable.IntValue() < 1 {
				t.Errorf("%s lets no node be drained", name)
			}
		}
		for name, p := range of[*networkingv1.NetworkPolicy](t, objects) {
			c := only(name, &p.Spec.PodSelector)
			if !slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"}) {
				t.Errorf("%s is for %v", name, p.Spec.PolicyTypes)
			}
			var open []int32
			for _, rule := range p.Spec.Ingress {
				for _, port := range rule.Ports {
					open = append(open, portOf(c, *port.Port))
				}
			}
			var has []int32
			for _, port := range c.Ports {
				has = append(has, port.ContainerPort)
			}
			if !slices.Equal(open, has) {
				t.Errorf("%s lets in ports %v, there are %v", name, open, has)
			}
		}
	})
}

// TestEgress: what the pods may reach is what the configuration names, and names.
func TestEgress(t *testing.T) {
	want := map[string]string{
		"default lapwing-engine":    "UDP 53, TCP 53; TCP 9092; TCP 6379",
		"everything alerts-engine":  "UDP 53, TCP 53; TCP 9094, TCP 9095, TCP 9096; TCP 6380, TCP 6381; TCP 443",
		"everything alerts-gateway": "UDP 53, TCP 53; TCP 9094, TCP 9095, TCP 9096; TCP 443",
		"sentinel lapwing-engine":   "UDP 53, TCP 53; TCP 9092; TCP 26379, TCP 6379",
		"cluster lapwing-engine":    "UDP 53, TCP 53; TCP 9092; TCP 6379",
		"cluster lapwing-gateway":   "UDP 53, TCP 53; TCP 9092",
	}
	got := map[string]string{}
	for name, values := range cases(t) {
		for policy, p := range of[*networkingv1.NetworkPolicy](t, rendered(t, values)) {
			var rules []string
			for _, rule := range p.Spec.Egress {
				var ports []string
				for _, port := range rule.Ports {
					ports = append(ports, string(*port.Protocol)+" "+port.Port.String())
				}
				rules = append(rules, strings.Join(ports, ", "))
			}
			got[name+" "+policy] = strings.Join(rules, "; ")
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("policies let out\n%v\nwant\n%v", got, want)
	}
}

// TestScaling: a scaler's target exists, says no number itself, and never has more members than partitions.
func TestScaling(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := func(metric string) {
		if !strings.Contains(string(readme), "`"+metric+"`") {
			t.Errorf("deploy/README.md does not know the metric %s", metric)
		}
	}
	scalers := 0
	everyCase(t, func(t *testing.T, values map[string]any, objects []metav1.Object) {
		deployments := of[*appsv1.Deployment](t, objects)
		scaled := ""
		check := func(kind, name string, replicasMin, replicasMax *int32) {
			scalers++
			scaled = name
			if kind != "Deployment" || deployments[name] == nil {
				t.Fatalf("scales %s %s, which does not exist", kind, name)
			}
			partitions := int32(6) // the chart's own
			if config, ok := values["config"].(map[string]any); ok {
				if kafka, ok := config["kafka"].(map[string]any); ok && kafka["partitions"] != nil {
					partitions = int32(kafka["partitions"].(float64))
				}
			}
			if *replicasMin < 1 || *replicasMax < *replicasMin || *replicasMax > partitions {
				t.Errorf("%d to %d replicas of %d partitions", *replicasMin, *replicasMax, partitions)
			}
		}
		for _, a := range of[*autoscalingv2.HorizontalPodAutoscaler](t, objects) {
			check(a.Spec.ScaleTargetRef.Kind, a.Spec.ScaleTargetRef.Name, a.Spec.MinReplicas, &a.Spec.MaxReplicas)
			metric := a.Spec.Metrics[0]
			var name string
			var target autoscalingv2.MetricTarget
			if metric.Type == autoscalingv2.PodsMetricSourceType {
				name, target = metric.Pods.Metric.Name, metric.Pods.Target
			} else {
				name, target = metric.External.Metric.Name, metric.External.Target
			}
			documented(name)
			scaler := values["autoscaling"].(map[string]any)
			want := int64(20000) // the chart's own
			if scaler["lagPerReplica"] != nil {
				want = int64(scaler["lagPerReplica"].(float64))
			}
			if target.Type != autoscalingv2.AverageValueMetricType || target.AverageValue.Value() != want {
				t.Errorf("target is %v, want %d a replica", target, want)
			}
		}
		for _, k := range of[*scaledObject](t, objects) {
			check(k.Spec.ScaleTargetRef.Kind, k.Spec.ScaleTargetRef.Name, k.Spec.MinReplicaCount, k.Spec.MaxReplicaCount)
			query := k.Spec.Triggers[0].Metadata["query"]
			if want := `sum(lapwing_lag_records{namespace="default",pod=~"lapwing-engine-.*"})`; query != want {
				t.Errorf("query is %s, want %s", query, want)
			}
			documented("lapwing_lag_records")
			if threshold := k.Spec.Triggers[0].Metadata["threshold"]; threshold != "20000" {
				t.Errorf("threshold is %q", threshold)
			}
		}
		for name, d := range deployments {
			if (d.Spec.Replicas == nil) != (name == scaled) {
				t.Errorf("%s says %v replicas; something scales %q", name, d.Spec.Replicas, scaled)
			}
		}
	})
	if scalers != 3 {
		t.Errorf("%d scalers were seen, want 3", scalers)
	}
}

// TestRefused: values that could not work are refused, and the message says which and why.
func TestRefused(t *testing.T) {
	type m = map[string]any
	for _, test := range []struct {
		name   string
		values m
		want   string
	}{
		{"unknown value", m{"engine": m{"replica": 2}}, "replica"},
		{"wrong type", m{"engine": m{"replicas": "two"}}, "/engine/replicas"},
		{"broker without port", m{"config": m{"kafka": m{"brokers": []any{"kafka"}}}}, "/config/kafka/brokers/0"},
		{"secret that is no file", m{"secretFiles": []any{m{"variable": "LAPWING_REDIS_PASSWORD", "existingSecret": "a", "key": "b"}}}, "variable"},
		{"password", m{"config": m{"redis": m{"password": "x"}}}, "config.redis.password must not be set: a ConfigMap is no place"},
		{"nested password", m{"config": m{"kafka": m{"sasl": m{"password": "x"}}}}, "config.kafka.sasl.password must not be set"},
		{"no truth", m{"config": m{"admin": m{"tls": m{"enabled": "yes"}}}}, "/config/admin/tls/enabled"},
		{"deeper secret", m{"config": m{"kafka": m{"sasl": m{"oauth": m{"client_secret": "x"}}}}}, "config.kafka.sasl.oauth.client_secret must not be set"},
		{"the chart's own key", m{"config": m{"http": ":1"}}, "config.http must not be set: the chart sets it"},
		{"two scalers", m{"autoscaling": m{"enabled": true}, "keda": m{"enabled": true, "prometheus": "http://p:9090"}}, "enable one"},
		{"beyond the partitions", m{"autoscaling": m{"enabled": true, "maxReplicas": 7}}, "autoscaling.maxReplicas is 7, but an engine beyond the 6"},
		{"least above most", m{"autoscaling": m{"enabled": true, "minReplicas": 5, "maxReplicas": 4}}, "minReplicas is 5, above its maxReplicas, 4"},
		{"no Prometheus", m{"keda": m{"enabled": true}}, "keda.prometheus must be set"},
		{"too little time", m{"engine": m{"terminationGracePeriodSeconds": 5}}, "terminationGracePeriodSeconds is 5"},
		{"bad duration", m{"config": m{"kafka": m{"drain_timeout": "3 seconds"}}}, "/config/kafka/drain_timeout"},
	} {
		if manifests, err := render(test.values); err == nil {
			t.Errorf("%s: accepted, %d manifests", test.name, len(manifests))
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the message lacks %q: %v", test.name, test.want, err)
		}
	}
}

// TestReadme: README.md has every value of the first two levels, and names no other.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	values, err := chartutil.ReadValuesFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(string(readme), -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			rows = append(rows, strings.Trim(name, "`"))
		}
	}
	known := map[string]bool{}
	for name, value := range values {
		known[name] = true
		nested, _ := value.(map[string]any)
		covered := slices.Contains(rows, name)
		for key := range nested {
			known[name+"."+key] = true
			if !covered && !slices.Contains(rows, name+"."+key) && !slices.Contains(rows, "engine."+key) {
				t.Errorf("README.md does not have %s.%s", name, key)
			}
		}
		if len(nested) == 0 && !covered {
			t.Errorf("README.md does not have %s", name)
		}
	}
	for _, name := range rows {
		if !known[name] {
			t.Errorf("README.md has %s, which is no value", name)
		}
	}
}

// TestPlainManifests: the manifests in deploy/kubernetes are what the chart gives.
func TestPlainManifests(t *testing.T) {
	want, err := plainManifests()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.Base(name)] = string(text)
	}
	if !maps.Equal(got, want) {
		t.Errorf("deploy/kubernetes is not what the chart gives; run \"make manifests\"\nthere are %q\nthe chart gives %q",
			slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// TestWriteManifests: what is no longer rendered goes, what is somebody's own stays.
func TestWriteManifests(t *testing.T) {
	folder := t.TempDir()
	own, old := filepath.Join(folder, "own.yaml"), filepath.Join(folder, "old.yaml")
	for name, text := range map[string]string{own: "a: b\n", old: header + "a: b\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeManifests(folder); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("a manifest of former times is still there (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "engine.yaml")); err != nil {
		t.Error(err)
	}
}

// selects reports whether a selector, which must not be empty, takes the labels.
func selects(t *testing.T, selector *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return !parsed.Empty() && parsed.Matches(labels.Set(of))
}

// selected returns the Deployments whose pods a selector takes.
func selected(deployments map[string]*appsv1.Deployment, selector labels.Selector) []*appsv1.Deployment {
	var found []*appsv1.Deployment
	for _, d := range deployments {
		if !selector.Empty() && selector.Matches(labels.Set(d.Spec.Template.Labels)) {
			found = append(found, d)
		}
	}
	return found
}

// portOf returns the container's port of a name or number, 0 if it has none.
func portOf(c corev1.Container, port intstr.IntOrString) int32 {
	for _, p := range c.Ports {
		if p.Name == port.StrVal || port.Type == intstr.Int && p.ContainerPort == port.IntVal {
			return p.ContainerPort
		}
	}
	return 0
}
