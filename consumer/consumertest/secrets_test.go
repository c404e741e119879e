package consumertest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestInspectFindsEveryForm leaks one secret in each form that a program may print it in.
func TestInspectFindsEveryForm(t *testing.T) {
	const secret = "redis-" + SecretMarker + "-7"
	leaks := map[string]string{
		"as it is":          "password=" + secret,
		"quoted":            fmt.Sprintf("%q", secret),
		"in hex":            hex.EncodeToString([]byte(secret)),
		"in upper-case hex": fmt.Sprintf("%X", secret),
		"as bytes":          fmt.Sprint([]byte(secret)),
		"as Go's bytes":     strings.ReplaceAll(fmt.Sprint([]byte(secret)), " ", ", "),
		"a private key":     "-----BEGIN EC PRIVATE KEY-----",
	}
	for before := range 7 {
		user := strings.Repeat("u", before) + ":"
		leaks["a header of "+user] = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+secret))
		leaks["a URL's of "+user] = base64.RawURLEncoding.EncodeToString([]byte(user + secret + "?"))
	}
	for name, line := range leaks {
		var i = inspection{outputs: map[Output]int{}}
		i.inspect(OutputProcess, "engine", "before\n"+line+"\nafter\n")
		if err := i.err(); err == nil || !strings.Contains(err.Error(), "process, engine: ") || strings.Contains(err.Error(), "after") {
			t.Errorf("%s: %v, want the leak in %q", name, err, line)
		}
	}
	var i = inspection{outputs: map[Output]int{}}
	i.inspect(OutputProcess, "engine", "lapwing-test, secret, password=[redacted] PRIVATE KEY aGVsbG8gd29ybGQ=\n")
	if err := i.err(); err != nil || i.outputs[OutputProcess] != 1 {
		t.Errorf("%v with %v; want no leak in one output", err, i.outputs)
	}
}

// TestSecretsOf finds what a program was given, and nothing else.
func TestSecretsOf(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := write("secret", SecretMarker+"\n")
	write("other", "no secret")
	config := write("lapwing.yaml", fmt.Sprintf(`
redis: {password_file: secret, sentinel: {password_file: %s}, username: other}
kafka: {sasl: {password: %s-2, password_file: missing}, tls: {ca_file: other}}
`, secret, SecretMarker))
	got := secretsOf(config, []string{"LAPWING_A=" + SecretMarker, "LAPWING_B_FILE=" + secret, "LAPWING_C=c", "PATH=" + SecretMarker, "LAPWING_D_FILE=" + dir})
	slices.Sort(got)
	want := []string{"LAPWING_A", "LAPWING_B_FILE", "LAPWING_KAFKA_SASL_PASSWORD", "LAPWING_REDIS_PASSWORD_FILE", "LAPWING_REDIS_SENTINEL_PASSWORD_FILE"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
