package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// inspectCommand searches what a command printed within the test's process, as consumertest.Engine does for processes.
// It may be called from any goroutine.
func inspectCommand(t *testing.T, args []string, stdout, stderr string) {
	config := ""
	if at := slices.Index(args, "--config"); at >= 0 && at+1 < len(args) {
		config = args[at+1]
	}
	consumertest.NoteSecrets(config, os.Environ())
	consumertest.Inspect(consumertest.OutputCommand, strings.Join(args, " ")+" of "+t.Name(), stdout+stderr)
}

// What a whole run of this package's tests must have searched for secrets, or the search tells nothing. There is much more.
var inspectedMin = map[consumertest.Output]int{
	consumertest.OutputProcess: 30,
	consumertest.OutputCommand: 100,
	"/metrics":                 30,
	"/readyz":                  30,
	"/healthz":                 30,
}

// secretsWereTried returns 1, and says what is missing, if a whole run of the tests on real services has not searched
// enough. consumertest.Main has failed already if a secret was found.
func secretsWereTried() int {
	if !isWholeRun() {
		return 0
	}
	outputs, given := consumertest.Inspected()
	if err := notInspected(outputs, given, secretVariables(NewConfig())); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// notInspected says which kinds of output were searched too seldom, and which secrets no program was given.
func notInspected(outputs map[consumertest.Output]int, given map[string]int, secrets []string) error {
	var errs []error
	for kind, least := range inspectedMin {
		if outputs[kind] < least {
			errs = append(errs, fmt.Errorf("secrets were looked for in %d outputs of the kind %s, expected are at least %d", outputs[kind], kind, least))
		}
	}
	for _, variable := range secrets {
		if given[variable] == 0 {
			errs = append(errs, fmt.Errorf("no test has started a program with the secret %s; let one do so, with a value that has %q in it", variable, consumertest.SecretMarker))
		}
	}
	return errors.Join(errs...)
}

// TestNotInspected: a search that was none is found out.
func TestNotInspected(t *testing.T) {
	secrets := secretVariables(NewConfig())
	for _, want := range []string{"LAPWING_KAFKA_SASL_PASSWORD", "LAPWING_KAFKA_SASL_PASSWORD_FILE", "LAPWING_KAFKA_TLS_KEY_FILE",
		"LAPWING_REDIS_PASSWORD", "LAPWING_REDIS_SENTINEL_PASSWORD_FILE", "LAPWING_REDIS_TLS_KEY_FILE"} {
		if !slices.Contains(secrets, want) {
			t.Errorf("%s is no secret among %q", want, secrets)
		}
	}
	if slices.Contains(secrets, "LAPWING_REDIS_TLS_CA_FILE") || slices.Contains(secrets, "LAPWING_REDIS_USERNAME") {
		t.Errorf("%q has what is no secret", secrets)
	}
	given := map[string]int{}
	for _, variable := range secrets {
		given[variable] = 1
	}
	if err := notInspected(inspectedMin, given, secrets); err != nil {
		t.Errorf("all was searched: %v", err)
	}
	delete(given, "LAPWING_REDIS_PASSWORD")
	err := notInspected(map[consumertest.Output]int{consumertest.OutputProcess: 1}, given, secrets)
	if err == nil || len(splitLines(err.Error())) != 1+len(inspectedMin) || !strings.Contains(err.Error(), "with the secret LAPWING_REDIS_PASSWORD;") ||
		!strings.Contains(err.Error(), "in 1 outputs of the kind process") {
		t.Errorf("got %v", err)
	}
}

// isWholeRun reports whether no test was left out.
func isWholeRun() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if f := flag.Lookup(name); f == nil || f.Value.String() != "" {
			return false
		}
	}
	return !testing.Short() && strings.Contains(os.Getenv(consumertest.EnvRequire), consumertest.RequireServices)
}

// secretVariables are the variables of all keys that are secrets or name a file with one: the file of a Secret has its
// name and _file, and other files tell it by their names.
func secretVariables(c *Config) []string {
	fields := fieldsOf(c)
	var variables []string
	for i := range fields {
		f := &fields[i]
		secret := f.isSecret() || slices.ContainsFunc(fields, func(other field) bool { return other.isSecret() && other.path+"_file" == f.path })
		for _, suffix := range []string{"password_file", "secret_file", "token_file", "tokens_file", "key_file", "headers_file"} {
			secret = secret || strings.HasSuffix(f.path, suffix)
		}
		if secret {
			variables = append(variables, f.variable)
		}
	}
	slices.Sort(variables)
	return variables
}

// TestSecretsAreNeverPrinted gives an engine and a gateway all they need of a Kafka and a Redis with TLS, certificates and
// passwords, once by variables and once by files, and has them tell all they can: debug logs, every admin endpoint, and
// the goroutines of a process that is killed by SIGQUIT. TestMain searches all of it once more.
func TestSecretsAreNeverPrinted(t *testing.T) {
	const kafkaPassword, redisPassword = "kafka-lapwing-test-secret-1", "redis-lapwing-test-secret-1"
	a := consumertest.NewAuthority(t)
	pair, err := tls.LoadX509KeyPair(a.Issue("kafka", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	server := consumertest.OwnRedis(t, append(consumertest.RedisTLS(a, true), "--requirepass", redisPassword)...)
	cert, key := a.Issue("lapwing")
	dir := t.TempDir()
	for _, given := range []struct{ name, kafka, redis, format string }{
		{"variables", kafkaPassword, redisPassword, "text"},
		{"files", writeFile(t, dir, "kafka", kafkaPassword+"\n"), writeFile(t, dir, "redis", redisPassword+"\n"), "json"},
	} {
		t.Run(given.name, func(t *testing.T) {
			suffix := map[string]string{"variables": "", "files": "_FILE"}[given.name]
			env := []string{"LAPWING_KAFKA_SASL_PASSWORD" + suffix + "=" + given.kafka, "LAPWING_REDIS_PASSWORD" + suffix + "=" + given.redis}
			for _, entry := range env {
				name, value, _ := strings.Cut(entry, "=")
				t.Setenv(name, value) // for the commands within this process
			}
			kafka := consumertest.Kfake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "lapwing", kafkaPassword), kfake.SeedTopics(2, "events", "alerts", "events.dead", "lapwing.rekey"),
				kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: a.ClientConfig().RootCAs, ClientAuth: tls.RequireAndVerifyClientCert}))
			listen := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
			var processes []*consumertest.Engine
			for _, command := range []string{"run", "gateway"} {
				http := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
				files := fmt.Sprintf("tls: {enabled: true, ca_file: %s, cert_file: %s, key_file: %s}", a.CAFile(), cert, key)
				e := consumertest.NewEngine(t, consumertest.EngineOptions{Command: command, Name: command, HTTP: http, Env: env, Config: fmt.Sprintf(`
kafka: {brokers: [%q], %s, sasl: {mechanism: plain, username: lapwing}}
redis: {addrs: [%q], %s}
log: {level: debug, format: %s}
http: %s
pprof: true
gateway: {listen: %q}
`, kafka, files, server.Addr(), files, given.format, http, listen)})
				e.Start()
				processes = append(processes, e)
			}
			for _, e := range processes {
				e.WaitReady(readyTimeout)
			}
			const event = `{"type":"withdraw","amount":"150","user_id":7,"time":20}`
			if status, answer := post(t, "http://"+listen+"/event", event); status != http.StatusOK || !strings.Contains(answer, `"alert_codes":[1100]`) {
				t.Errorf("%d %s", status, answer)
			}
			for _, args := range [][]string{{"check"}, {"doctor"}, {"doctor", "--json"}} {
				code, stdout, stderr := lapwing(t, "", append(args, "--config", processes[0].ConfigFile())...)
				if code != exitOK || strings.Contains(stdout+stderr, consumertest.SecretMarker) {
					t.Errorf("%v: exit code %d, printed\n%s%s", args, code, stdout, stderr)
				}
			}
			for _, e := range processes {
				for _, path := range []string{"/metrics", "/readyz", "/healthz", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/nothing"} {
					_, body, err := e.Get(path)
					if err != nil || body == "" || strings.Contains(body, consumertest.SecretMarker) {
						t.Errorf("%s: error %v, %s", path, err, body)
					}
				}
				if err := syscall.Kill(e.Pid(), syscall.SIGQUIT); err != nil {
					t.Fatal(err)
				}
				if code, ended := e.Wait(termTimeout); !ended || code != exitUsage { // Go's own, for a crash
					t.Errorf("ended = %v with exit code %d", ended, code)
				}
				if log := e.Log(); !strings.Contains(log, "SIGQUIT: quit") || strings.Contains(log, consumertest.SecretMarker) {
					t.Errorf("not the goroutines, or a secret, in\n%s", log)
				}
			}
		})
	}
}
