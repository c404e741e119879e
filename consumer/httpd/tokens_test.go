package httpd

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	r := serve(t, nil, func(o *Options) { o.TokensFile = newFiles(t).tokens(tokenA, tokenB) })
	client := r.client(nil)
	for _, header := range []string{bearer(tokenA), bearer(tokenB), "Authorization: bearer " + tokenA, "Authorization: BEARER   " + tokenA} {
		if got := r.get(client, "/", header); got.StatusCode != http.StatusOK || got.body != hello {
			t.Errorf("%q: %s %q, want the handler's answer, and that it does not see the token", header, got.Status, got.body)
		}
	}
	refused := 0
	for _, headers := range [][]string{
		nil, {bearer(tokenC)}, {bearer(tokenA[:len(tokenA)-1])}, {bearer(tokenA + "x")}, {bearer("")}, {"Authorization: Bearer"},
		{"Authorization: " + tokenA}, {"Authorization: Basic " + tokenA}, {bearer("# of the test")}, {bearer(tokenA + "," + tokenB)},
		{bearer(tokenA), bearer(tokenA)}, {bearer(tokenC), bearer(tokenA)}, {"X-Authorization: Bearer " + tokenA},
	} {
		refused++
		got := r.get(client, "/", headers...)
		if got.StatusCode != http.StatusUnauthorized || got.body != unauthorizedBody || got.Header.Get("WWW-Authenticate") != `Bearer realm="lapwing"` {
			t.Errorf("%q: %s %s %q", headers, got.Status, got.body, got.Header)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := r.get(client, path); got.StatusCode != http.StatusOK || got.body != "" || got.ContentLength != 0 {
			t.Errorf("%s without a token: %s %q, want the status alone", path, got.Status, got.body)
		}
		if got := r.get(client, path, bearer(tokenA)); got.body != hello {
			t.Errorf("%s with a token: %s %q", path, got.Status, got.body)
		}
	}
	for _, path := range []string{"/healthz/", "//readyz", "/readyz/../", "/x/../healthz", "/Readyz", "/"} {
		refused++
		if got := r.get(client, path); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a token: %s", path, got.Status)
		}
	}
	for _, request := range []string{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"} {
		refused++
		conn := r.dial()
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 12)
		if _, err := conn.Read(answer); err != nil || string(answer) != "HTTP/1.1 401" {
			t.Errorf("%q: %q, %v", request, answer, err)
		}
	}
	r.is("refusals for want of a token", r.metrics.refusals[refusedToken], float64(refused))
}

// TestProbeStatus: an unready server is that for probes without a token too.
func TestProbeStatus(t *testing.T) {
	unready := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "kafka.internal:9092 is away", http.StatusServiceUnavailable)
	})
	r := serve(t, unready, func(o *Options) { o.TokensFile = newFiles(t).tokens(tokenA) })
	if got := r.get(r.client(nil), "/readyz"); got.StatusCode != http.StatusServiceUnavailable || got.body != "" || got.Header.Get("Content-Type") != "" {
		t.Errorf("%s %q %v", got.Status, got.body, got.Header)
	}
	silent := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "implied 200") })
	r = serve(t, silent, func(o *Options) { o.TokensFile = newFiles(t).tokens(tokenA) })
	if got := r.get(r.client(nil), "/readyz"); got.StatusCode != http.StatusOK || got.body != "" {
		t.Errorf("%s %q", got.Status, got.body)
	}
}

func TestReadTokens(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "lapwing-test-secret-%d\n", i)
		}
		return b.String()
	}
	f := newFiles(t)
	for _, c := range []struct {
		text string
		want string // of the error; empty: none
	}{
		{tokenA, ""},
		{"\n# a comment\r\n\t" + tokenA + " \r\n\n" + tokenB, ""},
		{"0123456789abcdef\n", ""},
		{"0123456789abcde\n", ":1: a token has 15 bytes, must have at least 16"},
		{tokenA + "\n\n" + tokenB + " short\n", ":3: a token has a blank"},
		{tokenA + "é\n", ":1: a token has a blank, or what is not ASCII"},
		{"", ": no token is in it"},
		{"# " + tokenA + "\n", ": no token is in it"},
		{many(tokensMax), ""},
		{many(tokensMax + 1), ": 1001 tokens are in it, at most 1000"},
	} {
		name := f.write("tokens", []byte(c.text))
		err := ReadTokens(name)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%.40q: %v", c.text, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), name+c.want) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%.40q: %v, want %s", c.text, err, c.want)
		}
	}
	if err := ReadTokens(f.dir + "/missing"); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

// FuzzTokens: whatever file and header there are, exactly the lines of the file are taken.
func FuzzTokens(f *testing.F) {
	f.Add([]byte("# c\n"+tokenA+"\r\n\n"+tokenB), "Bearer "+tokenA)
	f.Add([]byte(tokenA), "bearer  "+tokenA+" ")
	f.Add([]byte("\xff\n"), "Basic x")
	f.Fuzz(func(t *testing.T, text []byte, header string) {
		parsed, err := parseTokens("file", text)
		if err != nil {
			if parsed != nil || !strings.HasPrefix(err.Error(), "file:") {
				t.Fatal(parsed, err)
			}
			return
		}
		taken := parsed.take([]string{header})
		want := false
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			want = want || len(header) > 7 && strings.EqualFold(header[:7], "bearer ") && strings.Trim(header[7:], " ") == line
			if !parsed.take([]string{"Bearer " + line}) {
				t.Fatalf("%q is not taken, which is a line", line)
			}
		}
		if taken != want {
			t.Fatalf("%q of %q is taken: %t", header, text, taken)
		}
	})
}
