package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// TestSecretsInTheFileAreRefused tries each key that is a secret: in the file it is refused with the other ways, the
// file of its own and the variables, which must exist.
func TestSecretsInTheFileAreRefused(t *testing.T) {
	variables := map[string]string{}
	for _, f := range fieldsOf(NewConfig()) {
		variables[f.path] = f.variable
	}
	tried := 0
	for _, f := range fieldsOf(NewConfig()) {
		if !f.isSecret() {
			continue
		}
		tried++
		other := variables[f.path+"_file"]
		if other == "" {
			t.Errorf("%s has no %s_file", f.path, f.path)
		}
		keys := strings.Split(f.path, ".")
		for _, value := range []string{"plain-lapwing-test-secret", `"quoted-lapwing-test-secret"`, "|\n      lapwing-test-secret\n"} {
			text := ""
			for i, key := range keys {
				text += "\n" + strings.Repeat(" ", i) + key + ":"
			}
			file := writeFile(t, t.TempDir(), "lapwing.yaml", text+" "+value+"\n")
			// A variable goes before the file, and does not take the secret out of it.
			for _, environ := range [][]string{nil, {f.variable + "=other-lapwing-test-secret"}} {
				_, err := LoadConfig(file, environ)
				want := fmt.Sprintf(": %[1]s: a secret must not stand in this file; take it out, and name a file that has it in %[1]s_file, or set the variable %[2]s or %[3]s\n",
					f.path, other, f.variable)
				if err == nil || !strings.Contains(err.Error()+"\n", want) || strings.Contains(err.Error(), consumertest.SecretMarker) {
					t.Errorf("%s: %s: %v, want %q", f.path, value, err, want)
				}
			}
		}
		if _, err := LoadConfig(writeFile(t, t.TempDir(), "lapwing.yaml", strings.Join(keys, ": {")+`: ""`+strings.Repeat("}", len(keys)-1)+"\n"), nil); err != nil {
			t.Errorf("%s: an empty text is no secret: %v", f.path, err)
		}
	}
	if tried < 3 {
		t.Errorf("%d keys are secrets, there are more", tried)
	}
}

// TestTwoPasswords: a variable beside a file.
func TestTwoPasswords(t *testing.T) {
	_, err := LoadConfig("testdata/edges.good.yaml", []string{"LAPWING_REDIS_PASSWORD=other-lapwing-test-secret"})
	const want = "testdata/edges.good.yaml:23:18: redis.password_file: and redis.password are both set; leave one out"
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), consumertest.SecretMarker) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestSecretsStayOutOfMessages puts secrets where they do not belong: no command tells more of them than where they are.
func TestSecretsStayOutOfMessages(t *testing.T) {
	const secret = "misplaced-lapwing-test-secret"
	for text, says := range map[string]string{
		`redis: {password:` + secret + `}`:                                        "redis.password: a secret must not stand",
		`redis: {"password:` + secret + `": x}`:                                   "redis.password...: unknown key",
		"redis:\n  password:" + secret:                                            "redis: must be a section",
		"redis:\n  password: " + secret + "\n   prefix: x":                        "not YAML",
		"redis:\n  password: " + secret + ": x":                                   "",
		"redis:\n  password: 'x" + secret:                                         "not YAML",
		"redis:\n  password: [" + secret:                                          "not YAML",
		"redis:\n  password: [" + secret + "]":                                    "redis.password: must be a single value",
		"redis:\n  password: {" + secret + ": x}":                                 "redis.password: must be a single value",
		"redis:\n  password: &" + secret + " x":                                   "redis.password: anchors",
		"redis:\n  password: *" + secret:                                          "redis.password: anchors",
		"redis:\n  password: !" + secret + " x":                                   "redis.password: anchors",
		"redis:\n  pasword: " + secret:                                            "did you mean password?",
		"redis:\n  password: x\n  password: " + secret:                            "is there twice",
		`redis: {addrs: ["redis://lapwing:` + secret + `@r:6379"]}`:               "redis.addrs[0]: must be host:port alone, without a scheme and a login; users go to redis.username, passwords to the file of redis.password_file\n",
		`redis: {addrs: ["lapwing:` + secret + `@r:6379"]}`:                       "redis.addrs[0]: must be host:port alone",
		`redis: {sentinel: {master: m, addrs: ["redis://:` + secret + `@s:1"]}}`:  "redis.sentinel.addrs[0]: must be host:port alone, without a scheme and a login; users go to redis.sentinel.username, passwords to the file of redis.sentinel.password_file\n",
		`kafka: {brokers: ["sasl://lapwing:` + secret + `@k:9092"]}`:              "kafka.brokers[0]: must be host:port alone, without a scheme and a login; users go to kafka.sasl.username, passwords to the file of kafka.sasl.password_file\n",
		`http: "http://admin:` + secret + `@127.0.0.1:9644"`:                      "http: must be an address to listen on",
		`gateway: {listen: "http://admin:` + secret + `@127.0.0.1"}`:              "gateway.listen: must be an address to listen on",
		"kafka: {brokers: [k:9092], group: 'u:" + secret + "@k'}":                 "kafka.group: must consist of",
		"redis: {prefix: 'redis://u:" + secret + "@{r}'}":                         "redis.prefix: must not contain",
		"redis: {addrs: [r:6379], sentinel: {master: 'm', addrs: ['s:1,s:2@x']}}": "redis.sentinel.addrs[0]: must be host:port alone",
	} {
		file := writeFile(t, t.TempDir(), "lapwing.yaml", text+"\n")
		for _, command := range []string{"check", "doctor", "run", "gateway", "bench"} {
			code, stdout, stderr := lapwing(t, "", command, "--config", file)
			if code != exitFailure || strings.Contains(stdout+stderr, consumertest.SecretMarker) {
				t.Errorf("%s of %q: exit code %d, printed\n%s%s", command, text, code, stdout, stderr)
			}
			if command == "check" && !strings.Contains(stderr, says) {
				t.Errorf("%q: no %q in\n%s", text, says, stderr)
			}
		}
	}
	t.Setenv("LAPWING_REDIS_ADDRS", "redis://lapwing:"+secret+",more@r:6379")
	if code, stdout, stderr := lapwing(t, "", "check"); code != exitFailure || strings.Contains(stdout+stderr, consumertest.SecretMarker) {
		t.Errorf("exit code %d, printed\n%s%s", code, stdout, stderr)
	}
}

// TestSecretsStayOutOfHelp: help shows no value of the environment.
func TestSecretsStayOutOfHelp(t *testing.T) {
	for _, f := range fieldsOf(NewConfig()) {
		if f.isSecret() {
			t.Setenv(f.variable, "help-lapwing-test-secret")
		}
	}
	if os.Getenv("LAPWING_REDIS_PASSWORD") == "" {
		t.Fatal("nothing was set")
	}
	for _, args := range [][]string{{"-h"}, {"run", "-h"}, {"check", "-h"}, {"doctor", "-h"}, {"version"}, {"run", "--unknown"}} {
		if _, stdout, stderr := lapwing(t, "", args...); strings.Contains(stdout+stderr, consumertest.SecretMarker) {
			t.Errorf("%v printed\n%s%s", args, stdout, stderr)
		}
	}
}
