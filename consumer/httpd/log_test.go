package httpd

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// TestNothingIsTold sends secrets in every part of requests, good and bad, and finds them in no log, metric or answer.
func TestNothingIsTold(t *testing.T) {
	a := consumertest.NewAuthority(t)
	registry := prometheus.NewRegistry()
	metrics, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	f := newFiles(t)
	panicking := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("of the test")
		}
		greet(w, r)
	})
	r := serve(t, panicking, func(o *Options) {
		o.TLS, o.TokensFile, o.Metrics = f.certificate(a, "server"), f.tokens(tokenA), metrics
		o.TLS.ClientCA = f.write("ca.crt", a.PEM())
		o.ReadHeaderTimeout, o.ReadTimeout, o.IdleTimeout = 2*time.Second, 2*time.Second, 200*time.Millisecond
	})
	const secret = "lapwing-test-secret-request"
	config := &tls.Config{RootCAs: a.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{a.Certificate("client")}}
	answers := ""
	for _, text := range []string{
		"GET /" + secret + " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + secret + "\r\n\r\n",
		"GET /?" + secret + ";x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + tokenA + "\r\nX-Secret: " + secret + "\r\n\r\n",
		"POST /panic HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + tokenA + "\r\nContent-Length: 27\r\n\r\n" + secret,
		"POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + tokenA + "\r\nContent-Length: 270\r\n\r\n" + secret,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + secret + "\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		secret + " / HTTP/9.9\r\n\r\n", secret + "\r\n\r\n", "GET / HTTP/1.1\r\n" + secret + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: " + secret + "{}\r\n\r\n",
	} {
		for _, conn := range []net.Conn{r.dial(), tls.Client(r.dial(), config)} { // one without TLS fails at the handshake
			_, _ = io.WriteString(conn, text)
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			said, _ := io.ReadAll(conn)
			answers += string(said)
		}
	}
	f.write("tokens", []byte(secret+" \x00\n"))
	eventually(t, "the broken file is noticed", func() bool { return strings.Contains(r.log.String(), "changed files cannot be used") })
	for _, want := range []string{"no TLS connection came about", "panic serving"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("no %q in the log: nothing was tried?\n%s", want, r.log)
		}
	}
	for _, status := range []string{"200 OK", "400 Bad Request", "401 Unauthorized", "501 Not Implemented"} {
		if !strings.Contains(answers, "HTTP/1.1 "+status) {
			t.Errorf("no answer is %s", status)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"log": r.log.String(), "metrics": fmt.Sprint(families), "answers": answers} {
		if strings.Contains(text, "lapwing-test-secret") {
			t.Errorf("a secret is in the %s:\n%s", what, text)
		}
	}
}

// TestExposed: what start and check say of a listener that other machines reach.
func TestExposed(t *testing.T) {
	const noTLS, nobody = "without TLS", "without tokens or client certificates"
	whole := TLSFiles{Cert: "c", Key: "k", ClientCA: "a"}
	for _, c := range []struct {
		listen, tokens string
		files          TLSFiles
		want           string
	}{
		{"127.0.0.1:1", "", TLSFiles{}, ""}, {"127.9.9.9:1", "", TLSFiles{}, ""}, {"[::1]:1", "", TLSFiles{}, ""},
		{"localhost:1", "", TLSFiles{}, ""}, {"[::ffff:127.0.0.1]:1", "", TLSFiles{}, ""},
		{":1", "", TLSFiles{}, noTLS + " and " + nobody}, {"0.0.0.0:1", "", TLSFiles{}, noTLS + " and " + nobody},
		{"[::]:1", "t", TLSFiles{}, noTLS}, {"10.0.0.1:1", "", TLSFiles{Cert: "c", Key: "k"}, nobody},
		{"gateway:1", "", TLSFiles{Cert: "c", Key: "k"}, nobody}, {"gateway:1", "t", TLSFiles{Cert: "c", Key: "k"}, ""}, {":1", "", whole, ""},
	} {
		o := Options{Listen: c.listen, TokensFile: c.tokens, TLS: c.files}
		if got := o.Exposed(); got != c.want {
			t.Errorf("%s with tokens %q and %v: %q, want %q", c.listen, c.tokens, c.files, got, c.want)
		}
	}
	open := serve(t, nil, func(o *Options) { o.Listen = "0.0.0.0:0" })
	if n := strings.Count(open.log.String(), `problem="`+noTLS+" and "+nobody+`"`); n != 1 {
		t.Errorf("%d warnings in\n%s", n, open.log)
	}
	if closed := serve(t, nil, nil); strings.Contains(closed.log.String(), "other machines") {
		t.Errorf("a warning in\n%s", closed.log)
	}
}
