package consumertest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fakeBinary stands for lapwing: it prints its arguments and a variable, then counts until SIGTERM, and exits with 3.
func fakeBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fake")
	script := `#!/bin/sh
trap 'echo ending; exit 3' TERM
echo "started $1 $2 $(cat "$3") $FAKE_VARIABLE"
while :; do echo tick; sleep 0.02; done
`
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEngine(t *testing.T) {
	var ready atomic.Bool
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer admin.Close()
	e := NewEngine(t, EngineOptions{
		Config: "the configuration", Env: []string{"FAKE_VARIABLE=value"}, HTTP: admin.Listener.Addr().String(), Binary: fakeBinary(t),
	})
	if e.Running() {
		t.Error("runs before its start")
	}
	e.Start()
	e.WaitLog(5*time.Second, "started run --config the configuration value")
	if e.Ready() {
		t.Error("ready too early")
	}
	time.AfterFunc(50*time.Millisecond, func() { ready.Store(true) })
	e.WaitReady(5 * time.Second)

	e.Freeze()
	// The signal takes effect in a moment; from then on nothing is printed any more.
	frozen := ""
	for frozen != e.Log() {
		frozen = e.Log()
		time.Sleep(100 * time.Millisecond)
	}
	if !e.Running() {
		t.Error("a frozen process counts as ended")
	}
	e.Thaw()
	for deadline := time.Now().Add(5 * time.Second); e.Log() == frozen; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("does not go on after the thaw")
		}
	}
	e.Kill()
	if code, ended := e.Wait(0); !ended || code != -1 || e.Running() {
		t.Errorf("after Kill: %d, %v", code, ended)
	}
	e.Start()
	for strings.Count(e.Log(), "started") < 2 {
		time.Sleep(5 * time.Millisecond)
	}
	if took, code := e.Term(5 * time.Second); code != 3 || took <= 0 || !strings.HasSuffix(e.Log(), "ending\n") {
		t.Errorf("after Term: code %d, %v", code, took)
	}
}
