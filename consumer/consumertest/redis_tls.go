package consumertest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
)

// RedisTLS returns the options by which the servers of [OwnRedis], [OwnRedisSentinels] and [OwnRedisCluster] take
// connections by TLS only, and so do their sentinels. Clients must have a certificate of the authority too if mutual is
// set.
func RedisTLS(a *Authority, mutual bool) []string {
	a.tb.Helper()
	cert, key := a.Issue("redis", "127.0.0.1")
	clients := "no"
	if mutual {
		clients = "yes"
	}
	return []string{
		redisCertOption, cert, redisKeyOption, key, redisCAOption, a.CAFile(),
		"--tls-auth-clients", clients, "--tls-replication", "yes",
	}
}

// Options of redis-server for TLS.
const (
	redisCertOption = "--tls-cert-file"
	redisKeyOption  = "--tls-key-file"
	redisCAOption   = "--tls-ca-cert-file"
)

// redisOption returns the value of an option in arguments of redis-server, "" if it is not there.
func redisOption(args []string, name string) string {
	if at := slices.Index(args, name); at >= 0 {
		return args[at+1]
	}
	return ""
}

// redisPortOption is the option for the port that is used.
func redisPortOption(args []string) string {
	if redisOption(args, redisCertOption) != "" {
		return "--tls-port"
	}
	return "--port"
}

// clientTLS returns the settings by which the test itself connects, with the server's own certificate; nil without TLS.
func (s *RedisServer) clientTLS() *tls.Config {
	if redisOption(s.args, redisCertOption) == "" {
		return nil
	}
	s.tb.Helper()
	pair, err := tls.LoadX509KeyPair(redisOption(s.args, redisCertOption), redisOption(s.args, redisKeyOption))
	if err != nil {
		s.tb.Fatal(err)
	}
	text, err := os.ReadFile(redisOption(s.args, redisCAOption))
	if err != nil {
		s.tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "127.0.0.1", RootCAs: pool, Certificates: []tls.Certificate{pair}}
}

// tlsLines returns those of the options that concern TLS as lines of a configuration file.
func tlsLines(args []string) string {
	var lines strings.Builder
	for i, arg := range args {
		if name, ok := strings.CutPrefix(arg, "--tls-"); ok {
			fmt.Fprintf(&lines, "tls-%s %s\n", name, args[i+1])
		}
	}
	return lines.String()
}
