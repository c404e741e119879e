package main

import (
	"time"

	"github.com/lapwing/lapwing/consumer/httpd"
)

// AdminConfig is the section admin: the HTTP server of /metrics, /healthz, /readyz and pprof. The key http says where it is.
type AdminConfig struct {
	TLS ServerTLSConfig `yaml:"tls"`
	// TokensFile has the bearer tokens that are taken, one a line; empty: none is needed.
	TokensFile File `yaml:"tokens_file"`
	// ConnectionsMax is how many connections are open at a time.
	ConnectionsMax    int           `yaml:"connections_max" min:"1" max:"1000000"`
	HeaderBytesMax    Bytes         `yaml:"header_bytes_max" min:"1KiB" max:"1MiB"`
	ReadHeaderTimeout time.Duration `yaml:"read_header_timeout" min:"10ms" max:"5m"`
	ReadTimeout       time.Duration `yaml:"read_timeout" min:"10ms" max:"5m"`
	// WriteTimeout bounds an answer; a profile may take as much longer as was asked for.
	WriteTimeout time.Duration `yaml:"write_timeout" min:"10ms" max:"5m"`
	IdleTimeout  time.Duration `yaml:"idle_timeout" min:"10ms" max:"1h"`
}

// ServerTLSConfig is a section tls of a server of ours.
type ServerTLSConfig struct {
	Enabled bool `yaml:"enabled"`
	// CertFile and KeyFile are the server's certificate, with those between it and its authority, and its key, in PEM.
	CertFile File `yaml:"cert_file"`
	KeyFile  File `yaml:"key_file"`
	// ClientCAFile has the authorities of clients' certificates, in PEM; empty: clients need none.
	ClientCAFile File `yaml:"client_ca_file"`
}

func newAdminConfig() AdminConfig {
	return AdminConfig{
		ConnectionsMax:    64,
		HeaderBytesMax:    16 << 10,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
}

// files returns the names of the files, none where TLS is off.
func (t *ServerTLSConfig) files() httpd.TLSFiles {
	if !t.Enabled {
		return httpd.TLSFiles{}
	}
	return httpd.TLSFiles{Cert: string(t.CertFile), Key: string(t.KeyFile), ClientCA: string(t.ClientCAFile)}
}

// url returns the URL of an address.
func (t *ServerTLSConfig) url(addr string) string {
	if t.Enabled {
		return "https://" + addr
	}
	return "http://" + addr
}

// gatewayServer returns the options of the gateway's server.
func (c *Config) gatewayServer() httpd.Options {
	g, o := &c.Gateway, httpd.DefaultOptions()
	o.Name, o.Listen, o.TLS, o.TokensFile = "gateway", g.Listen, g.TLS.files(), string(g.TokensFile)
	o.ConnectionsMax, o.HeaderBytesMax = g.ConnectionsMax, int(g.HeaderBytesMax)
	o.ReadHeaderTimeout, o.ReadTimeout, o.IdleTimeout = g.ReadHeaderTimeout, g.ReadTimeout, g.IdleTimeout
	return o
}

// adminServer returns the options of the admin endpoints' server.
func (c *Config) adminServer() httpd.Options {
	a, o := &c.Admin, httpd.DefaultOptions()
	o.Name, o.Listen, o.TLS, o.TokensFile = "admin", c.HTTP, a.TLS.files(), string(a.TokensFile)
	o.ConnectionsMax, o.HeaderBytesMax = a.ConnectionsMax, int(a.HeaderBytesMax)
	o.ReadHeaderTimeout, o.ReadTimeout, o.WriteTimeout, o.IdleTimeout = a.ReadHeaderTimeout, a.ReadTimeout, a.WriteTimeout, a.IdleTimeout
	return o
}

// exposed says of each server that other machines can reach without protection what is missing, and what to set.
func (c *Config) exposed() []string {
	var found []string
	for _, server := range []struct {
		key     string
		options httpd.Options
	}{{"http", c.adminServer()}, {"gateway.listen", c.gatewayServer()}} {
		lacks := server.options.Exposed()
		if server.options.Listen == "" || lacks == "" {
			continue
		}
		name := server.options.Name
		found = append(found, server.key+": other machines can reach "+server.options.Listen+" "+lacks+"; see "+name+".tls and "+name+".tokens_file")
	}
	return found
}

// checkServer checks the files of a server, that none is named in vain, and how long a request may take.
func (l *loader) checkServer(section string, t *ServerTLSConfig, tokens File, header, whole time.Duration) {
	if header > whole {
		l.relation("must be at most "+section+".read_timeout, "+shortDuration(whole), section+".read_header_timeout", section+".read_timeout")
	}
	if tokens != "" {
		if err := httpd.ReadTokens(string(tokens)); err != nil {
			l.wrong(section+".tokens_file", "cannot be used: "+err.Error())
		}
	}
	enabled, cert, key, ca := section+".tls.enabled", section+".tls.cert_file", section+".tls.key_file", section+".tls.client_ca_file"
	if !t.Enabled {
		for _, path := range []string{cert, key, ca} {
			if l.isSet(path) {
				l.relation("is not used, since "+enabled+" is false; set it to true", path, enabled)
			}
		}
		return
	}
	switch {
	case t.CertFile == "":
		l.relation("must be set, since "+enabled+" is true", cert, enabled)
	case t.KeyFile == "":
		l.relation("must be set, since "+enabled+" is true", key, enabled)
	default:
		if _, err := readKeyPair(t.CertFile, t.KeyFile); err != nil {
			l.wrong(cert, "cannot be used: "+err.Error())
		}
	}
	if t.ClientCAFile != "" {
		if _, err := readCA(t.ClientCAFile); err != nil {
			l.wrong(ca, "cannot be used: "+err.Error())
		}
	}
}
