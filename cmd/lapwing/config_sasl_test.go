package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/wire/oauth"
)

// saslProblems loads a section kafka.sasl and returns its problems and the configuration.
func saslProblems(t *testing.T, section string, environ ...string) (string, *Config) {
	t.Helper()
	c, err := LoadConfig(writeFile(t, t.TempDir(), "lapwing.yaml", "kafka: {sasl: {"+section+"}}\n"), environ)
	if err != nil {
		return err.Error(), c
	}
	return "", c
}

// TestSASLConfig: each mechanism takes what it needs, and nothing else.
func TestSASLConfig(t *testing.T) {
	ca := consumertest.NewAuthority(t).CAFile()
	secretFile := writeFile(t, t.TempDir(), "secret", "oauth-lapwing-test-secret-6\n")
	const client = `token_url: "https://login.test/token", client_id: lapwing`
	password, secret := []string{"LAPWING_KAFKA_SASL_PASSWORD=p"}, []string{"LAPWING_KAFKA_SASL_OAUTH_CLIENT_SECRET=s"}
	for _, x := range []struct {
		section string
		environ []string
		says    string
	}{
		{`mechanism: plain, username: u`, password, ""},
		{`mechanism: scram-sha-512, username: u`, nil, "kafka.sasl.password: or kafka.sasl.password_file must be set"},
		{`mechanism: plain`, password, "kafka.sasl.username: must be set"},
		{`mechanism: digest`, nil, "must be plain, scram-sha-256, scram-sha-512, oauthbearer or aws-msk-iam"},
		{`mechanism: plain, username: u, region: x`, password, "kafka.sasl.region: is not used by kafka.sasl.mechanism plain"},
		{`mechanism: plain, username: u, oauth: {scope: x}`, password, "set the mechanism to oauthbearer"},
		{`oauth: {client_id: x}`, nil, "kafka.sasl.oauth.client_id: is not used without kafka.sasl.mechanism; set it to oauthbearer"},
		{`mechanism: oauthbearer, oauth: {` + client + `}`, secret, ""},
		{`mechanism: oauthbearer, oauth: {` + client + `, client_secret_file: "` + secretFile + `", scope: a b, ca_file: "` + ca + `", extensions: [a=b, c=d=e]}`, nil, ""},
		{`mechanism: oauthbearer`, nil, "kafka.sasl.oauth.token_url: must be set"},
		{`mechanism: oauthbearer, oauth: {` + client + `}`, nil, "kafka.sasl.oauth.client_secret: or kafka.sasl.oauth.client_secret_file must be set"},
		{`mechanism: oauthbearer, oauth: {` + client + `, client_secret_file: "` + secretFile + `"}`, secret, "are both set"},
		{`mechanism: oauthbearer, oauth: {` + client + `, ca_file: "` + secretFile + `"}`, secret, "no certificate in PEM form"},
		{`mechanism: oauthbearer, oauth: {` + client + `, extensions: [a]}`, secret, "must be KEY=VALUE"},
		{`mechanism: oauthbearer, oauth: {` + client + `, extensions: [auth=x]}`, secret, "auth"},
		{`mechanism: oauthbearer, oauth: {token_url: "https://u:p@login.test", client_id: c}`, secret, "must be a URL"},
		{`mechanism: oauthbearer, oauth: {token_url: login.test, client_id: c}`, secret, "must be a URL"},
	} {
		got, _ := saslProblems(t, x.section, x.environ...)
		if x.says == "" && got != "" || !strings.Contains(got, x.says) {
			t.Errorf("%s: %q, want %q", x.section, got, x.says)
		}
		if strings.Contains(got, "lapwing-test-secret") {
			t.Errorf("a secret is shown: %s", got)
		}
	}
	_, c := saslProblems(t, `mechanism: oauthbearer, oauth: {`+client+`, client_secret_file: "`+secretFile+`"}`)
	o, err := c.WireOptions()
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := o.SASL.(*oauth.Mechanism); !ok || m.Name() != "OAUTHBEARER" {
		t.Errorf("the mechanism is %T", o.SASL)
	}
}

// TestSASLOfMSK: a build has AWS MSK IAM if it has the tag, and says so otherwise.
func TestSASLOfMSK(t *testing.T) {
	got, c := saslProblems(t, "mechanism: aws-msk-iam, region: eu-central-1")
	if mskMechanism == nil {
		if !strings.Contains(got, "this build has no AWS MSK IAM; build with -tags msk") {
			t.Errorf("%q", got)
		}
		return
	}
	if got != "" {
		t.Fatal(got)
	}
	o, err := c.WireOptions()
	if err != nil || o.SASL.Name() != "OAUTHBEARER" {
		t.Error(o.SASL, err)
	}
	if got, _ := saslProblems(t, "mechanism: aws-msk-iam"); !strings.Contains(got, "kafka.sasl.region: must be set") {
		t.Errorf("%q", got)
	}
}

// TestNoAWS: only the tag msk brings the AWS SDK in.
func TestNoAWS(t *testing.T) {
	for tags, want := range map[string]bool{"": false, "msk": true} {
		output, err := exec.Command("go", "list", "-deps", "-tags", tags, ".").Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(output), "github.com/aws/"); got != want {
			t.Errorf("with the tags %q the program has AWS packages: %v, want %v", tags, got, want)
		}
	}
}
