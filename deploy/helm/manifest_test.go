package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// serviceMonitor is of the Prometheus operator, monitoring.coreos.com/v1, as far as the chart uses it.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port      string `json:"port"`
			Path      string `json:"path"`
			Interval  string `json:"interval"`
			Scheme    string `json:"scheme"`
			TLSConfig *struct {
				ServerName string `json:"serverName"`
				CA         struct {
					Secret *corev1.SecretKeySelector `json:"secret"`
				} `json:"ca"`
			} `json:"tlsConfig"`
			Authorization *struct {
				Credentials *corev1.SecretKeySelector `json:"credentials"`
			} `json:"authorization"`
			Relabelings []struct {
				SourceLabels []string `json:"sourceLabels"`
				TargetLabel  string   `json:"targetLabel"`
				Replacement  string   `json:"replacement"`
			} `json:"relabelings"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// scaledObject is of KEDA, keda.sh/v1alpha1, as far as the chart uses it.
type scaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ScaleTargetRef struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Name       string `json:"name"`
		} `json:"scaleTargetRef"`
		PollingInterval *int32 `json:"pollingInterval"`
		MinReplicaCount *int32 `json:"minReplicaCount"`
		MaxReplicaCount *int32 `json:"maxReplicaCount"`
		Advanced        struct {
			HPAConfig struct {
				Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior"`
			} `json:"horizontalPodAutoscalerConfig"`
		} `json:"advanced"`
		Triggers []struct {
			Type       string            `json:"type"`
			MetricType string            `json:"metricType"`
			Metadata   map[string]string `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// kinds makes an empty object of each kind that the chart may have.
var kinds = map[string]func() metav1.Object{
	"v1/ConfigMap":                            func() metav1.Object { return new(corev1.ConfigMap) },
	"v1/Service":                              func() metav1.Object { return new(corev1.Service) },
	"v1/ServiceAccount":                       func() metav1.Object { return new(corev1.ServiceAccount) },
	"apps/v1/Deployment":                      func() metav1.Object { return new(appsv1.Deployment) },
	"policy/v1/PodDisruptionBudget":           func() metav1.Object { return new(policyv1.PodDisruptionBudget) },
	"networking.k8s.io/v1/NetworkPolicy":      func() metav1.Object { return new(networkingv1.NetworkPolicy) },
	"autoscaling/v2/HorizontalPodAutoscaler":  func() metav1.Object { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"monitoring.coreos.com/v1/ServiceMonitor": func() metav1.Object { return new(serviceMonitor) },
	"keda.sh/v1alpha1/ScaledObject":           func() metav1.Object { return new(scaledObject) },
}

// decode returns the objects of manifests, each decoded as its kind by the rules that an API server in strict mode goes
// by: no unknown and no repeated member, names by their case.
func decode(manifests map[string]string) ([]metav1.Object, error) {
	var objects []metav1.Object
	for _, file := range slices.Sorted(maps.Keys(manifests)) {
		for part := range strings.SplitSeq("\n"+manifests[file], "\n---\n") {
			if strings.TrimSpace(strings.Trim(part, "-\n")) == "" {
				continue
			}
			text, err := yaml.YAMLToJSONStrict([]byte(part))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			var about metav1.TypeMeta
			if err := json.UnmarshalCaseSensitivePreserveInts(text, &about); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			kind := about.APIVersion + "/" + about.Kind
			create, ok := kinds[kind]
			if !ok {
				return nil, fmt.Errorf("%s: no kind %s is known; add it to kinds", file, kind)
			}
			object := create()
			problems, err := json.UnmarshalStrict(text, object)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", file, kind, err)
			}
			if len(problems) > 0 {
				return nil, fmt.Errorf("%s: %s: %w", file, kind, problems[0])
			}
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// of returns the objects of one type, by name.
func of[T metav1.Object](t *testing.T, objects []metav1.Object) map[string]T {
	t.Helper()
	found := make(map[string]T)
	for _, object := range objects {
		if o, ok := object.(T); ok {
			if _, twice := found[o.GetName()]; twice {
				t.Errorf("two %T are named %s", o, o.GetName())
			}
			found[o.GetName()] = o
		}
	}
	return found
}

// cases are the values that the chart is tested with, by name; "default" has none of its own.
func cases(t *testing.T) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{"default": nil}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("values in testdata: %d, %v", len(files), err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]any{}
		if err := yaml.UnmarshalStrict(text, &values); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found[strings.TrimSuffix(filepath.Base(name), ".yaml")] = values
	}
	return found
}

// rendered returns the objects that the chart gives with the values.
func rendered(t *testing.T, values map[string]any) []metav1.Object {
	t.Helper()
	manifests, err := render(values)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(manifests)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// TestDecodeIsStrict: what the other tests rely on refuses what an API server would refuse or silently drop.
func TestDecodeIsStrict(t *testing.T) {
	const good = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: None}\n"
	if _, err := decode(map[string]string{"a.yaml": good}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		strings.Replace(good, "clusterIP", "clusterIp", 1),
		strings.Replace(good, "clusterIP", "clusterAddress", 1),
		strings.Replace(good, "None}", "None, clusterIP: None}", 1),
		strings.Replace(good, "None", "[None]", 1),
		strings.Replace(good, "Service", "Servlet", 1),
	} {
		if objects, err := decode(map[string]string{"a.yaml": bad}); err == nil {
			t.Errorf("accepted as %v:\n%s", objects, bad)
		}
	}
}
