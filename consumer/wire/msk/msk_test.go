package msk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const awsSecret = "aws-lapwing-test-secret-4"

// credentials gives the SDK these alone.
func credentials(t *testing.T, id, secret string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", id)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_PROFILE", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// TestToken works the signature out by AWS's description of version 4, with the standard library alone.
func TestToken(t *testing.T) {
	credentials(t, "AKIDEXAMPLE", awsSecret)
	before := time.Now().Truncate(time.Second)
	token, err := source("eu-central-1")(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := base64.RawURLEncoding.DecodeString(token.Value)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	signed, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if err != nil || signed.Before(before) || signed.After(time.Now()) {
		t.Errorf("signed at %v: %v", signed, err)
	}
	if life := token.Expires.Sub(signed); life != 15*time.Minute || q.Get("X-Amz-Expires") != "900" {
		t.Errorf("lives for %v, %s s", life, q.Get("X-Amz-Expires"))
	}
	day := signed.Format("20060102")
	scope := day + "/eu-central-1/kafka-cluster/aws4_request"
	for key, want := range map[string]string{
		"Action": "kafka-cluster:Connect", "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": "AKIDEXAMPLE/" + scope, "X-Amz-SignedHeaders": "host",
	} {
		if q.Get(key) != want {
			t.Errorf("%s is %q, want %q", key, q.Get(key), want)
		}
	}
	const host = "kafka.eu-central-1.amazonaws.com"
	if u.Scheme != "https" || u.Host != host || u.Path != "/" {
		t.Errorf("the URL is %s", u)
	}
	got := q.Get("X-Amz-Signature")
	q.Del("X-Amz-Signature")
	q.Del("User-Agent") // is added after the signature
	canonical := strings.Join([]string{"GET", "/", strings.ReplaceAll(q.Encode(), "+", "%20"), "host:" + host, "", "host", hash("")}, "\n")
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", q.Get("X-Amz-Date"), scope, hash(canonical)}, "\n")
	key := []byte("AWS4" + awsSecret)
	for _, part := range []string{day, "eu-central-1", "kafka-cluster", "aws4_request"} {
		key = mac(key, part)
	}
	if want := hex.EncodeToString(mac(key, toSign)); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

func TestNoCredentials(t *testing.T) {
	credentials(t, "", "")
	_, err := source("eu-central-1")(t.Context())
	var none *Error
	if !errors.As(err, &none) || none.Region != "eu-central-1" || !strings.Contains(none.Hint(), "AWS_PROFILE") {
		t.Error(err)
	}
}

func TestName(t *testing.T) {
	m, err := Mechanism("eu-central-1")
	if err != nil || m.Name() != "OAUTHBEARER" {
		t.Error(m, err)
	}
}
