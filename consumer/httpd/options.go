package httpd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Options configures a Server. Take DefaultOptions and set Name and Listen, at least.
type Options struct {
	// Name says in errors and metrics which server it is.
	Name string
	// Listen is the address to listen on, host:port; port 0 takes a free one.
	Listen string
	// Listener, if not nil, is used instead of Listen. The server closes it.
	Listener net.Listener
	// Logger gets changes of state and failures, never headers, bodies or tokens. Nil: discarded.
	Logger *slog.Logger
	// Metrics are of all servers of a process. Nil: none.
	Metrics *Metrics

	// TLS names the files for TLS; without a certificate the server speaks plain HTTP.
	TLS TLSFiles
	// TokensFile has a bearer token in each line; empty: none is needed. ReadTokens says what is taken.
	TokensFile string
	// ReloadInterval is how often the files are looked at.
	ReloadInterval time.Duration

	// ConnectionsMax is how many connections are open at a time.
	ConnectionsMax int
	// ReadHeaderTimeout bounds the TLS handshake, and reading a request's header; ReadTimeout reading all of it.
	ReadHeaderTimeout, ReadTimeout time.Duration
	// WriteTimeout bounds the time from the end of a request's header to the end of its answer.
	WriteTimeout time.Duration
	// IdleTimeout ends a connection without requests.
	IdleTimeout time.Duration
	// HeaderBytesMax is the size of the largest request header; net/http adds 4 KiB to it.
	HeaderBytesMax int
}

// DefaultOptions returns the defaults of everything but the name and the address.
func DefaultOptions() Options {
	return Options{
		ReloadInterval:    time.Second,
		ConnectionsMax:    4096,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HeaderBytesMax:    16 << 10,
	}
}

// Exposed says what is missing of a server that other machines can reach: "without TLS", "without tokens or client
// certificates", or both; it is empty where nothing is, and of a server on loopback.
func (o *Options) Exposed() string {
	addr := o.Listen
	if o.Listener != nil {
		addr = o.Listener.Addr().String()
	}
	if isLoopback(addr) {
		return ""
	}
	var lacks []string
	if o.TLS.Cert == "" {
		lacks = append(lacks, "without TLS")
	}
	if o.TokensFile == "" && o.TLS.ClientCA == "" {
		lacks = append(lacks, "without tokens or client certificates")
	}
	return strings.Join(lacks, " and ")
}

// isLoopback reports whether only this machine reaches an address to listen on. A name other than localhost does not count:
// what it stands for may change.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// validate returns all problems of the options, joined.
func (o *Options) validate() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: "+format, append([]any{o.Name}, args...)...))
		}
	}
	require(o.Name != "", "Name is empty")
	require(o.Listener != nil || o.Listen != "", "Listen is empty")
	require((o.TLS.Cert == "") == (o.TLS.Key == ""), "TLS.Cert is %q and TLS.Key %q, must be both set or both empty", o.TLS.Cert, o.TLS.Key)
	require(o.TLS.ClientCA == "" || o.TLS.Cert != "", "TLS.ClientCA is set, needs TLS.Cert")
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"ReloadInterval", o.ReloadInterval},
		{"ReadHeaderTimeout", o.ReadHeaderTimeout},
		{"ReadTimeout", o.ReadTimeout},
		{"WriteTimeout", o.WriteTimeout},
		{"IdleTimeout", o.IdleTimeout},
	} {
		require(d.value >= time.Millisecond, "%s is %v, must be at least 1ms", d.name, d.value)
	}
	require(o.ConnectionsMax > 0, "ConnectionsMax is %d, must be above 0", o.ConnectionsMax)
	require(o.HeaderBytesMax > 0, "HeaderBytesMax is %d, must be above 0", o.HeaderBytesMax)
	return errors.Join(errs...)
}
