package httpd

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

func TestTLS(t *testing.T) {
	ours, other := consumertest.NewAuthority(t), consumertest.NewAuthority(t)
	r := serve(t, nil, func(o *Options) { o.TLS = newFiles(t).certificate(ours, "server") })

	got := r.get(r.client(&tls.Config{RootCAs: ours.Pool(), NextProtos: []string{"h2", "http/1.1"}}), "/")
	if got.StatusCode != http.StatusOK || got.body != hello || got.ProtoMajor != 1 || got.TLS.Version < tls.VersionTLS12 {
		t.Errorf("%s over %s with TLS %#x: %s", got.Status, got.Proto, got.TLS.Version, got.body)
	}
	if _, err := r.tryGet(r.client(&tls.Config{RootCAs: other.Pool()}), "/"); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a client that trusts another authority: %v", err)
	}
	old := &tls.Config{RootCAs: ours.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if _, err := r.tryGet(r.client(old), "/"); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("a client of TLS 1.1: %v", err)
	}
	plain := *r
	plain.url = "http" + strings.TrimPrefix(r.url, "https")
	if got := plain.get(r.client(nil), "/"); got.StatusCode != http.StatusBadRequest || strings.Contains(got.body, hello) {
		t.Errorf("a client without TLS: %s %s", got.Status, got.body)
	}
	// net/http counts after it has answered or closed.
	eventually(t, "three handshakes are counted as failed", func() bool { return value(t, r.metrics.refusals[refusedHandshake]) == 3 })
	if leaf := got.TLS.PeerCertificates[0]; value(t, r.metrics.certificateEnd) != float64(leaf.NotAfter.Unix()) {
		t.Errorf("the certificate ends at %v, want %v", value(t, r.metrics.certificateEnd), leaf.NotAfter)
	}
}

func TestMutualTLS(t *testing.T) {
	ours, clients, other := consumertest.NewAuthority(t), consumertest.NewAuthority(t), consumertest.NewAuthority(t)
	f := newFiles(t)
	r := serve(t, nil, func(o *Options) {
		o.TLS = f.certificate(ours, "server")
		o.TLS.ClientCA = f.write("client-ca.crt", clients.PEM())
	})
	certified := r.client(&tls.Config{RootCAs: ours.Pool(), Certificates: []tls.Certificate{clients.Certificate("client")}})
	if got := r.get(certified, "/"); got.StatusCode != http.StatusOK || got.body != hello {
		t.Errorf("with a certificate: %s %s", got.Status, got.body)
	}
	if got := r.get(certified, "/readyz"); got.body != hello {
		t.Errorf("/readyz with a certificate: %s %q", got.Status, got.body)
	}
	without := r.client(&tls.Config{RootCAs: ours.Pool()})
	if got := r.get(without, "/"); got.StatusCode != http.StatusForbidden || got.body != forbiddenBody {
		t.Errorf("without a certificate: %s %s", got.Status, got.body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := r.get(without, path); got.StatusCode != http.StatusOK || got.body != "" {
			t.Errorf("%s without a certificate: %s %q", path, got.Status, got.body)
		}
	}
	foreign := r.client(&tls.Config{RootCAs: ours.Pool(), Certificates: []tls.Certificate{other.Certificate("client")}})
	// The client sends it all the same: it was not asked for one of its authority.
	foreign.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert := other.Certificate("client")
		return &cert, nil
	}
	if got, err := r.tryGet(foreign, "/healthz"); err == nil {
		t.Errorf("with a certificate of another authority: %s %s", got.Status, got.body)
	}
	r.is("requests without a certificate", r.metrics.refusals[refusedCertificate], 1)
	eventually(t, "the handshake is counted", func() bool { return value(t, r.metrics.refusals[refusedHandshake]) == 1 })
}

// TestClientAuthorityReplaced: who could ask by the former authority cannot any more, not by a session that is resumed either,
// which crypto/tls verifies anew.
func TestClientAuthorityReplaced(t *testing.T) {
	ours, before, after := consumertest.NewAuthority(t), consumertest.NewAuthority(t), consumertest.NewAuthority(t)
	f := newFiles(t)
	r := serve(t, nil, func(o *Options) {
		o.TLS = f.certificate(ours, "server")
		o.TLS.ClientCA = f.write("client-ca.crt", before.PEM())
	})
	client := func(a *consumertest.Authority) *http.Client {
		cert := a.Certificate("client")
		c := r.client(&tls.Config{
			RootCAs: ours.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(8),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		})
		c.Transport.(*http.Transport).DisableKeepAlives = true
		return c
	}
	former, latter := client(before), client(after)
	for _, resumed := range []bool{false, true} {
		if got := r.get(former, "/"); got.StatusCode != http.StatusOK || got.TLS.DidResume != resumed {
			t.Fatalf("before: %s, resumed %t", got.Status, got.TLS.DidResume)
		}
	}
	f.write("client-ca.crt", after.PEM())
	eventually(t, "the new authority counts", func() bool {
		got, err := r.tryGet(latter, "/")
		return err == nil && got.StatusCode == http.StatusOK
	})
	if got, err := r.tryGet(former, "/"); err == nil {
		t.Errorf("a client of the former authority: %s %s", got.Status, got.body)
	}
}

// TestFilesRefused: New says which file is wrong and why, and tells no secret.
func TestFilesRefused(t *testing.T) {
	a := consumertest.NewAuthority(t)
	f := newFiles(t)
	good := f.certificate(a, "server")
	_, otherKey := a.Pair("other")
	other, garbage, missing := f.write("other.key", otherKey), f.write("garbage", []byte("lapwing-test-secret")), f.dir+"/missing"
	for _, c := range []struct {
		name   string
		adjust func(*Options)
		want   string
	}{
		{"no certificate", func(o *Options) { o.TLS = TLSFiles{Cert: missing, Key: good.Key} }, "test: TLS: open " + missing},
		{"another's key", func(o *Options) { o.TLS = TLSFiles{Cert: good.Cert, Key: other} }, "with key " + other + ": tls: private key does not match"},
		{"garbage", func(o *Options) { o.TLS = TLSFiles{Cert: good.Cert, Key: garbage} }, "with key " + garbage},
		{"no authority", func(o *Options) { o.TLS = good; o.TLS.ClientCA = garbage }, "test: TLS: " + garbage + ": no certificate"},
		{"no tokens", func(o *Options) { o.TokensFile = missing }, "test: tokens: open " + missing},
		{"too large", func(o *Options) { o.TokensFile = f.write("large", make([]byte, fileBytesMax+1)) }, "the file is too large"},
		{"no key", func(o *Options) { o.TLS.Cert = good.Cert }, "must be both set"},
		{"clients without TLS", func(o *Options) { o.TLS.ClientCA = good.Cert }, "TLS.ClientCA is set, needs TLS.Cert"},
		{"no name", func(o *Options) { o.Name = "" }, "Name is empty"},
		{"no address", func(o *Options) { o.Listen = "" }, "Listen is empty"},
		{"no time", func(o *Options) { o.ReloadInterval = 0 }, "ReloadInterval is 0s, must be at least 1ms"},
		{"no end", func(o *Options) { o.WriteTimeout = -time.Second }, "WriteTimeout is -1s"},
		{"no connections", func(o *Options) { o.ConnectionsMax = 0 }, "ConnectionsMax is 0"},
	} {
		o := DefaultOptions()
		o.Name, o.Listen = "test", "127.0.0.1:0"
		c.adjust(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "lapwing-test-secret") {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}
