package httpd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// TLSFiles names files in PEM. The zero value is for plain HTTP.
type TLSFiles struct {
	// Cert is the server's certificate, with those between it and its authority, and Key its key.
	Cert, Key string
	// ClientCA has the authorities of clients' certificates; empty: none is asked for.
	ClientCA string
}

// errNoCertificate is what a file of authorities without any is refused with.
var errNoCertificate = errors.New("no certificate in PEM form is in it")

// watch reads the files for the first time.
func (f TLSFiles) watch() (*watched[tls.Config], error) {
	files := []string{f.Cert, f.Key}
	if f.ClientCA != "" {
		files = append(files, f.ClientCA)
	}
	return watch(f.parse, files...)
}

// parse makes the settings of a handshake.
func (f TLSFiles) parse(texts [][]byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(texts[0], texts[1])
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	// Not h2: a connection of HTTP/1 is one request at a time, which is what bounds them.
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{pair}}
	if f.ClientCA != "" {
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(texts[2]) {
			return nil, fmt.Errorf("%s: %w", f.ClientCA, errNoCertificate)
		}
		c.ClientAuth = tls.VerifyClientCertIfGiven // guard.go demands it of a request
	}
	return c, nil
}
