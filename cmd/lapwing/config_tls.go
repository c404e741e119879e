package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// TLSConfig is a section tls: how a service is reached over TLS.
type TLSConfig struct {
	Enabled bool `yaml:"enabled"`
	// CAFile has the certificates that are trusted, in PEM; empty: those of the system.
	CAFile File `yaml:"ca_file"`
	// CertFile and KeyFile are Lapwing's own, in PEM, where the service asks for them.
	CertFile File `yaml:"cert_file"`
	KeyFile  File `yaml:"key_file"`
	// ServerName is what the service's certificate must be for; empty: the address that is dialed.
	ServerName string `yaml:"server_name"`
}

// Limits of the files that are read.
const (
	caBytesMax       = 4 << 20
	passwordBytesMax = 4 << 10
)

// Problems of files.
var (
	errNoCertificate = errors.New("no certificate in PEM form is in it")
	errNoPassword    = errors.New("the file is empty")
)

// client returns the TLS settings for a client, nil where TLS is off.
func (t *TLSConfig) client() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pool, err := readCA(t.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if t.CertFile != "" {
		pair, err := readKeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func readCA(file File) (*x509.CertPool, error) {
	text, err := readBounded(string(file), caBytesMax)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: %w", file, errNoCertificate)
	}
	return pool, nil
}

func readKeyPair(cert, key File) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(string(cert), string(key))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s with key %s: %w", cert, key, err)
	}
	return pair, nil
}

// readPassword returns the password, from the file if one is named; a line end at its end does not count.
func readPassword(password Secret, file File) (string, error) {
	if file == "" {
		return string(password), nil
	}
	text, err := readBounded(string(file), passwordBytesMax)
	if err != nil {
		return "", err
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if line == "" {
		return "", fmt.Errorf("%s: %w", file, errNoPassword)
	}
	return line, nil
}

// checkTLS checks that the files can be used, and that none is named in vain.
func (l *loader) checkTLS(section string, t *TLSConfig) {
	ca, cert, key := section+".ca_file", section+".cert_file", section+".key_file"
	if !t.Enabled {
		for _, path := range []string{ca, cert, key, section + ".server_name"} {
			if l.isSet(path) {
				l.relation("is not used, since "+section+".enabled is false; set it to true", path, section+".enabled")
			}
		}
		return
	}
	if t.CAFile != "" {
		if _, err := readCA(t.CAFile); err != nil {
			l.wrong(ca, "cannot be used: "+err.Error())
		}
	}
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		l.relation("must be set, since "+cert+" is", key, cert)
	case t.CertFile == "" && t.KeyFile != "":
		l.relation("must be set, since "+key+" is", cert, key)
	case t.CertFile != "":
		if _, err := readKeyPair(t.CertFile, t.KeyFile); err != nil {
			l.wrong(cert, "cannot be used: "+err.Error())
		}
	}
}

// checkPassword checks that there is one way to the password of a section, and that it can be read.
func (l *loader) checkPassword(section string, password Secret, file File) {
	l.checkSecret(section+".password", password, file)
}

// checkSecret checks that there is one way to the secret of a key, which has a second key for a file, and that it can be
// read.
func (l *loader) checkSecret(path string, secret Secret, file File) {
	if file == "" {
		return
	}
	if secret != "" {
		l.relation("and "+path+" are both set; leave one out", path+"_file", path)
	}
	if _, err := readPassword(secret, file); err != nil {
		l.wrong(path+"_file", "cannot be used: "+err.Error())
	}
}
