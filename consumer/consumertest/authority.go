package consumertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority is a certificate authority of one test: nobody else trusts it. Its files, in PEM, are in a temporary folder.
// Its methods fail the test on an error; they are for one goroutine at a time.
type Authority struct {
	tb     testing.TB
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

// certificateAge is how long certificates are valid, from an hour ago.
const certificateAge = 24 * time.Hour

// NewAuthority makes an authority.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, dir: tb.TempDir()}
	a.key = a.newKey()
	template := a.template("authority "+rand.Text(), time.Now().Add(certificateAge)) // by its name clients know one from another
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.cert = a.sign(template, template, a.key)
	a.write("ca.pem", encodePEM("CERTIFICATE", a.cert.Raw))
	return a
}

// CAFile is the name of the file with the authority's own certificate.
func (a *Authority) CAFile() string { return filepath.Join(a.dir, "ca.pem") }

// PEM returns what is in CAFile.
func (a *Authority) PEM() []byte { return encodePEM("CERTIFICATE", a.cert.Raw) }

// Pool returns a pool with the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue returns a certificate, good until a time, and its key, in PEM: for a client of that name, and for a server on the
// given hosts, names or addresses.
func (a *Authority) issue(name string, until time.Time, hosts ...string) (cert, key []byte) {
	a.tb.Helper()
	template := a.template(name, until)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	private := a.newKey()
	issued := a.sign(template, a.cert, private)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.tb.Fatal(err)
	}
	return encodePEM("CERTIFICATE", issued.Raw), encodePEM("PRIVATE KEY", der)
}

// IssueUntil writes a certificate, good until a time, and its key to files, and returns their names: for a client of that
// name, and for a server on the given hosts, names or addresses. Files of the same name are replaced.
func (a *Authority) IssueUntil(name string, until time.Time, hosts ...string) (certFile, keyFile string) {
	a.tb.Helper()
	cert, key := a.issue(name, until, hosts...)
	return a.write(name+".pem", cert), a.write(name+".key", key)
}

// Issue is IssueUntil for a day.
func (a *Authority) Issue(name string, hosts ...string) (certFile, keyFile string) {
	a.tb.Helper()
	return a.IssueUntil(name, time.Now().Add(certificateAge), hosts...)
}

// Pair returns a certificate for a client of that name and for servers on loopback, and its key, in PEM.
func (a *Authority) Pair(name string) (cert, key []byte) {
	a.tb.Helper()
	return a.issue(name, time.Now().Add(certificateAge), "localhost", "127.0.0.1", "::1")
}

// Certificate returns what Pair does, for a tls.Config.
func (a *Authority) Certificate(name string) tls.Certificate {
	a.tb.Helper()
	pair, err := tls.X509KeyPair(a.Pair(name))
	if err != nil {
		a.tb.Fatal(err)
	}
	return pair
}

// ClientConfig returns the TLS settings of a client that trusts the authority and has a certificate of it.
func (a *Authority) ClientConfig() *tls.Config {
	a.tb.Helper()
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.Pool(), Certificates: []tls.Certificate{a.Certificate("test")}}
}

// Keystore writes a broker's key and certificate, for the given hosts, to one file as Kafka reads it (type PEM).
func (a *Authority) Keystore(name string, hosts ...string) string {
	a.tb.Helper()
	cert, key := a.issue(name, time.Now().Add(certificateAge), hosts...)
	return a.write(name+".keystore.pem", append(key, cert...))
}

func (a *Authority) template(name string, until time.Time) *x509.Certificate {
	a.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
	}
}

func (a *Authority) newKey() *ecdsa.PrivateKey {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	return key
}

func (a *Authority) sign(template, issuer *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	a.tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.tb.Fatal(err)
	}
	return cert
}

func (a *Authority) write(name string, text []byte) string {
	a.tb.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		a.tb.Fatal(err)
	}
	return file
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
