package consumer

import (
	"io"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// OpsHandler serves /metrics, /healthz (alive: otherwise 503, and starting the process anew is what helps), /readyz
// (ready: otherwise 503 and what is waited for), and /debug/pprof when asked for.
func OpsHandler(alive, ready func() (bool, string), metrics prometheus.Gatherer, withPprof bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", probe(alive, "ok\n"))
	mux.HandleFunc("GET /readyz", probe(ready, "ready\n"))
	if withPprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// probe answers 200 and the text, or 503 and the problems.
func probe(state func() (bool, string), text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		ok, problems := state()
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, problems)
			return
		}
		_, _ = io.WriteString(w, text)
	}
}
