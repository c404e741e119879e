package httpd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// flow asks again and again, from several goroutines, until stop is called, which returns how often. Every answer must pass
// check.
func flow(t *testing.T, ask func() (reply, error), check func(reply) error) (stop func() int) {
	t.Helper()
	var group sync.WaitGroup
	end, asked := make(chan struct{}), make(chan int, 4)
	for range cap(asked) {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-end:
					asked <- n
					return
				default:
				}
				got, err := ask()
				if err == nil {
					err = check(got)
				}
				if err != nil {
					t.Errorf("while requests flow: %v", err)
					asked <- n
					return
				}
			}
		})
	}
	stop = sync.OnceValue(func() int {
		close(end)
		group.Wait()
		close(asked)
		total := 0
		for n := range asked {
			total += n
		}
		return total
	})
	t.Cleanup(func() { stop() })
	return stop
}

func isOK(got reply) error {
	if got.StatusCode != http.StatusOK || got.body != hello {
		return fmt.Errorf("%s %s", got.Status, got.body)
	}
	return nil
}

// TestCertificateReplaced: a new certificate is used from the next handshake on, a broken one never, and no request fails.
func TestCertificateReplaced(t *testing.T) {
	a := consumertest.NewAuthority(t)
	f := newFiles(t)
	r := serve(t, nil, func(o *Options) { o.TLS = f.certificate(a, "first") })
	client := r.client(&tls.Config{RootCAs: a.Pool()})
	client.Transport.(*http.Transport).DisableKeepAlives = true
	stop := flow(t, func() (reply, error) { return r.tryGet(client, "/") }, isOK)
	served := func() string { return r.get(client, "/").TLS.PeerCertificates[0].Subject.CommonName }
	logged := func(text string) int { return strings.Count(r.log.String(), text) }
	const unusable, used = "changed files cannot be used", "changed files are used from now on"

	if got := served(); got != "first" {
		t.Errorf("%s is served", got)
	}
	// One file after the other, as a copy would: no handshake meets a certificate without its key.
	cert, key := a.Pair("second")
	f.write("tls.crt", cert)
	eventually(t, "half a change is noticed", func() bool { return value(t, r.metrics.staleFiles) == 1 })
	if got := served(); got != "first" {
		t.Errorf("%s is served, half way", got)
	}
	f.write("tls.key", key)
	eventually(t, "the second certificate is served", func() bool { return served() == "second" })
	eventually(t, "nothing is stale", func() bool { return value(t, r.metrics.staleFiles) == 0 })
	if logged(unusable) != 1 || logged(used) != 1 {
		t.Errorf("the log has\n%s\nwant one line for half the change, and one for all of it", r.log)
	}

	f.write("tls.crt", []byte("no certificate"))
	eventually(t, "the broken file is noticed", func() bool { return logged(unusable) == 2 })
	time.Sleep(100 * time.Millisecond) // some looks at the files more
	if err := os.Remove(f.dir + "/tls.crt"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the missing file is noticed", func() bool { return logged(unusable) == 3 })
	time.Sleep(100 * time.Millisecond)
	if got := served(); got != "second" || value(t, r.metrics.staleFiles) != 1 || logged(unusable) != 3 {
		t.Errorf("%s is served, stale %v, the log has\n%s\nwant one line for each of two problems", got, value(t, r.metrics.staleFiles), r.log)
	}
	f.write("tls.crt", cert) // as it was: nothing is new, and all is well
	eventually(t, "nothing is stale", func() bool { return value(t, r.metrics.staleFiles) == 0 })
	f.certificate(a, "third")
	eventually(t, "the third certificate is served", func() bool { return served() == "third" })
	if n := stop(); n < 20 {
		t.Errorf("%d requests came through all of this", n)
	}
	r.is("handshakes that failed", r.metrics.refusals[refusedHandshake], 0)
}

// TestTokensReplaced: an added token is taken and a removed one refused, also on a connection that is open, and what is in both
// is taken all the time.
func TestTokensReplaced(t *testing.T) {
	f := newFiles(t)
	r := serve(t, nil, func(o *Options) { o.TokensFile = f.tokens(tokenA, tokenB) })
	client := r.client(nil)
	status := func(token string) int { return r.get(client, "/", bearer(token)).StatusCode }
	stop := flow(t, func() (reply, error) { return r.tryGet(client, "/", bearer(tokenB)) }, isOK)
	if a, c := status(tokenA), status(tokenC); a != http.StatusOK || c != http.StatusUnauthorized {
		t.Errorf("before: %d and %d", a, c)
	}
	f.tokens(tokenB, tokenC)
	eventually(t, "the removed token is refused", func() bool { return status(tokenA) == http.StatusUnauthorized })
	if got := status(tokenC); got != http.StatusOK {
		t.Errorf("the added token: %d", got)
	}
	f.write("tokens", []byte("# none\n"))
	eventually(t, "the empty file is noticed", func() bool { return value(t, r.metrics.staleFiles) == 1 })
	if a, c := status(tokenA), status(tokenC); a != http.StatusUnauthorized || c != http.StatusOK {
		t.Errorf("with an empty file: %d and %d, want what was before it", a, c)
	}
	if text := r.log.String(); strings.Count(text, "cannot be used") != 1 || !strings.Contains(text, "no token is in it") {
		t.Errorf("the log has\n%s\nwant one line about the empty file", text)
	}
	if n := stop(); n < 20 {
		t.Errorf("%d requests came through all of this", n)
	}
}

// TestWatched: the same time and size do not hide a change, and what cannot be read is told once for each reason.
func TestWatched(t *testing.T) {
	f := newFiles(t)
	name := f.write("a", []byte("one"))
	w, err := watch(func(texts [][]byte) (*string, error) {
		if text := string(texts[0]); text != "bad" {
			return &text, nil
		}
		return nil, errors.New("it is bad")
	}, name)
	if err != nil || *w.Load() != "one" {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		text, want string
		stale      bool
	}{{"one", "one", false}, {"two", "two", false}, {"bad", "two", true}, {"bad", "two", true}, {"one", "one", false}} {
		f.write("a", []byte(c.text))
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
		r := &consumertest.LogBuffer{}
		if stale := w.refresh(newLog(r), "texts"); stale != c.stale || *w.Load() != c.want {
			t.Errorf("%q: %q, stale %t; want %q, %t", c.text, *w.Load(), stale, c.want, c.stale)
		}
	}
}
