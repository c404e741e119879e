package state

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// diagnose says at which step of reaching a server an error arose (DNS, TCP or TLS), which is empty after them, and what to
// do about it, which is empty for other errors than those of the network.
func diagnose(err error) (stage, remedy string) {
	var dns *net.DNSError
	var op *net.OpError
	if errors.As(err, &dns) {
		return "DNS", "the name does not resolve: check redis.addrs (or redis.sentinel.addrs) and the resolver"
	}
	if remedy := diagnoseTLS(err); remedy != "" {
		return "TLS", remedy
	}
	var unanswered *unansweredError
	var network net.Error
	switch {
	case errors.As(err, &unanswered) && isClosed(unanswered):
		return "TLS", "the server closed the connection instead of answering, as a port for TLS does: set redis.tls.enabled to true, or name the port without TLS"
	case errors.As(err, &op) && op.Op == "dial":
		return "TCP", "check the address, that Redis runs there, and firewalls"
	case errors.As(err, &network):
		return "", "check the address, that Redis runs there and is not overloaded, redis.tls, and firewalls"
	}
	return "", ""
}

// diagnoseTLS returns what to do about an error of TLS, "" if it is none.
func diagnoseTLS(err error) string {
	const ownCertificate = "in redis.tls.cert_file and redis.tls.key_file, of an authority that the server trusts (its tls-ca-cert-file)"
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var certificate *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var handshake *handshakeError
	var unanswered *unansweredError
	switch {
	case errors.As(err, &authority):
		return "name the certificate of the authority that signed the server's in redis.tls.ca_file"
	case errors.As(err, &host):
		return "the server's certificate is for other names: reach it by one of them, or set redis.tls.server_name to one"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or set this machine's clock"
	case errors.As(err, &certificate):
		return "look at the server's certificate"
	case isCertificateAlert(err):
		return "the server refuses our certificate, or wants one: name one " + ownCertificate
	case isAlert(err):
		return "the server refuses the connection: compare its tls-protocols and tls-ciphers with what Lapwing speaks, TLS 1.2 and 1.3"
	case errors.As(err, &header), errors.As(err, &handshake):
		return "the port does not answer as one for TLS: name the port for TLS (tls-port), or set redis.tls.enabled to false"
	case errors.As(err, &unanswered) && unanswered.secure && isClosed(unanswered):
		return "the server closed the connection instead of answering, as one does that wants a certificate: name one " + ownCertificate
	}
	return ""
}

// isCertificateAlert reports whether the other side refuses our certificate, or the want of one. Go tells the alerts apart
// by their words only.
func isCertificateAlert(err error) bool {
	var op *net.OpError
	return isAlert(err) && errors.As(err, &op) && strings.Contains(op.Err.Error(), "certificate")
}

// isClosed reports whether the other side has closed the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
