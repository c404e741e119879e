package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/lapwing/lapwing/consumer/wire/oauth"
)

// SASLConfig is how Lapwing logs in to Kafka; without a mechanism it does not.
type SASLConfig struct {
	Mechanism string `yaml:"mechanism" allow:"|plain|scram-sha-256|scram-sha-512|oauthbearer|aws-msk-iam"`
	// Username and password are for plain and scram.
	Username     string `yaml:"username"`
	Password     Secret `yaml:"password"`
	PasswordFile File   `yaml:"password_file"`
	// OAuth is for oauthbearer.
	OAuth OAuthConfig `yaml:"oauth"`
	// Region is for aws-msk-iam.
	Region string `yaml:"region"`
}

// OAuthConfig is how a token server is asked for tokens.
type OAuthConfig struct {
	TokenURL         string `yaml:"token_url"`
	ClientID         string `yaml:"client_id"`
	ClientSecret     Secret `yaml:"client_secret"`
	ClientSecretFile File   `yaml:"client_secret_file"`
	// Scope are names, separated by spaces; empty: the server's default.
	Scope string `yaml:"scope"`
	// CAFile has the certificates that are trusted, in PEM; empty: those of the system.
	CAFile File `yaml:"ca_file"`
	// Extensions are KEY=VALUE, for brokers that want more than a token.
	Extensions []string `yaml:"extensions"`
}

// errNoMSK is the problem of a build without the AWS SDK.
var errNoMSK = errors.New("this build has no AWS MSK IAM; build with -tags msk")

// mskMechanism is there in a build with the tag msk.
var mskMechanism func(region string) (sasl.Mechanism, error)

// saslKeys are the keys of kafka.sasl that each mechanism uses, without the section.
var saslKeys = map[string][]string{
	"plain":         {"username", "password", "password_file"},
	"scram-sha-256": {"username", "password", "password_file"},
	"scram-sha-512": {"username", "password", "password_file"},
	"oauthbearer":   {"oauth."},
	"aws-msk-iam":   {"region"},
}

// checkSASL checks that what a login needs is there, and nothing that it does not use.
func (l *loader) checkSASL(s *SASLConfig) {
	const section = "kafka.sasl."
	used := saslKeys[s.Mechanism]
	for i := range l.fields {
		key, ok := strings.CutPrefix(l.fields[i].path, section)
		if !ok || key == "mechanism" || !l.isSet(section+key) || usesKey(used, key) {
			continue
		}
		if s.Mechanism == "" {
			l.relation("is not used without kafka.sasl.mechanism; set it to "+mechanismsWith(key), section+key, section+"mechanism")
		} else {
			l.relation(fmt.Sprintf("is not used by kafka.sasl.mechanism %s; leave it out, or set the mechanism to %s", s.Mechanism, mechanismsWith(key)), section+key, section+"mechanism")
		}
	}
	need := func(key, value string) {
		if value == "" {
			l.relation("must be set, since kafka.sasl.mechanism is "+s.Mechanism, section+key, section+"mechanism")
		}
	}
	secret := func(key string, value Secret, file File) {
		if value == "" && file == "" {
			l.relation(fmt.Sprintf("or %s%s_file must be set, since kafka.sasl.mechanism is %s", section, key, s.Mechanism), section+key, section+"mechanism")
		}
		l.checkSecret(section+key, value, file)
	}
	switch s.Mechanism {
	case "plain", "scram-sha-256", "scram-sha-512":
		need("username", s.Username)
		secret("password", s.Password, s.PasswordFile)
	case "oauthbearer":
		need("oauth.token_url", s.OAuth.TokenURL)
		need("oauth.client_id", s.OAuth.ClientID)
		secret("oauth.client_secret", s.OAuth.ClientSecret, s.OAuth.ClientSecretFile)
		l.checkOAuth(section+"oauth.", &s.OAuth)
	case "aws-msk-iam":
		if mskMechanism == nil {
			l.wrong(section+"mechanism", errNoMSK.Error())
		}
		need("region", s.Region)
	}
}

// usesKey reports whether a key is among those of a mechanism; a name that ends in a dot is a section.
func usesKey(used []string, key string) bool {
	for _, u := range used {
		if u == key || strings.HasSuffix(u, ".") && strings.HasPrefix(key, u) {
			return true
		}
	}
	return false
}

// mechanismsWith lists the mechanisms that use a key.
func mechanismsWith(key string) string {
	var names []string
	for _, name := range []string{"plain", "scram-sha-256", "scram-sha-512", "oauthbearer", "aws-msk-iam"} {
		if usesKey(saslKeys[name], key) {
			names = append(names, name)
		}
	}
	return orList(names)
}

func (l *loader) checkOAuth(section string, o *OAuthConfig) {
	if o.TokenURL != "" {
		if u, err := url.Parse(o.TokenURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
			l.wrong(section+"token_url", "must be a URL like https://login.example.com/oauth2/token, without a user")
		}
	}
	if o.CAFile != "" {
		if _, err := readCA(o.CAFile); err != nil {
			l.wrong(section+"ca_file", "cannot be used: "+err.Error())
		}
	}
	for i, text := range o.Extensions {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			l.wrong(element(section+"extensions", i), "must be KEY=VALUE")
		} else if err := oauth.CheckExtension(key, value); err != nil {
			l.wrong(element(section+"extensions", i), err.Error())
		}
	}
}

// mechanism returns how to log in; nil: not at all.
func (s *SASLConfig) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		return nil, nil
	case "oauthbearer":
		return s.OAuth.mechanism()
	case "aws-msk-iam":
		if mskMechanism == nil {
			return nil, errNoMSK
		}
		return mskMechanism(s.Region)
	}
	password, err := readPassword(s.Password, s.PasswordFile)
	if err != nil {
		return nil, err
	}
	switch s.Mechanism {
	case "plain":
		return plain.Mechanism{Username: s.Username, Password: password}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, s.Username, password)
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, s.Username, password)
	}
	panic("config: unknown SASL mechanism " + s.Mechanism)
}

func (o *OAuthConfig) mechanism() (sasl.Mechanism, error) {
	secret, err := readPassword(o.ClientSecret, o.ClientSecretFile)
	if err != nil {
		return nil, fmt.Errorf("oauth.client_secret_file: %w", err)
	}
	credentials := oauth.ClientCredentials{
		TokenURL: o.TokenURL, ClientID: o.ClientID, ClientSecret: secret, Scope: o.Scope,
	}
	if o.CAFile != "" {
		if credentials.Roots, err = readCA(o.CAFile); err != nil {
			return nil, fmt.Errorf("oauth.ca_file: %w", err)
		}
	}
	extensions := map[string]string{}
	for _, text := range o.Extensions {
		key, value, _ := strings.Cut(text, "=")
		extensions[key] = value
	}
	return oauth.New(credentials.Source(), extensions)
}
