package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestNoFileAndNoEnvironmentAreTheDefaults(t *testing.T) {
	got, err := LoadConfig("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := NewConfig(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestGoodFiles(t *testing.T) {
	files := fixtures(t, "testdata/*.good.yaml")
	for _, file := range files {
		if _, err := LoadConfig(file, nil); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Each testdata/<case>.bad.yaml has all its problems, word for word, in <case>.bad.txt.
func TestBadFiles(t *testing.T) {
	for _, file := range fixtures(t, "testdata/*.bad.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			_, err = LoadConfig(file, nil)
			if err == nil {
				t.Fatal("no problem was found")
			}
			if got := err.Error() + "\n"; got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the password is shown in\n%v", err)
			}
		})
	}
}

func fixtures(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, error %v", pattern, len(files), err)
	}
	return files
}

func TestValuesOfAFile(t *testing.T) {
	got, err := LoadConfig("testdata/edges.good.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := NewConfig()
	want.Kafka.Brokers = []string{"[::1]:9092", "kafka-1.example:65535"}
	want.Kafka.Group = "a.b_c-D9"
	want.Kafka.Start = Start{Latest: true}
	want.Kafka.Warm = time.Hour
	want.Kafka.HeartbeatInterval = 2 * time.Second
	want.Kafka.TransactionTimeout = 15 * time.Minute
	want.Kafka.TransactionPause = 0
	want.Kafka.StallTimeout = 920 * time.Second // 15m and twice 10s
	want.Kafka.BatchBytesMax = 16384
	// Texts are taken as they are written, though YAML sees numbers here.
	want.Kafka.SASL = SASLConfig{Mechanism: "scram-sha-512", Username: "0100", PasswordFile: "testdata/password.txt"}
	want.Redis.Addrs = []string{"redis:6379"}
	want.Redis.Username, want.Redis.PasswordFile = "two\nlines\n", "testdata/password.txt"
	want.Redis.Prefix = "Ω"
	want.HTTP = ""
	want.Gateway.Listen = ":0"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// Names of files are relative to the configuration file that they stand in; those of a variable are left alone.
func TestFileNames(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, dir, "lapwing.yaml", "rules: sub/rules.yaml\nredis: {password_file: "+writeFile(t, dir, "secret", "x")+"}\n")
	got, err := LoadConfig(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := File(filepath.Join(dir, "sub", "rules.yaml")); got.Rules != want {
		t.Errorf("rules are %q, want %q", got.Rules, want)
	}
	if want := File(filepath.Join(dir, "secret")); got.Redis.PasswordFile != want {
		t.Errorf("an absolute name became %q, want %q", got.Redis.PasswordFile, want)
	}
	if got, err = LoadConfig(file, []string{"LAPWING_RULES=sub/rules.yaml"}); err != nil || got.Rules != "sub/rules.yaml" {
		t.Errorf("rules of the variable are %q, error %v; want sub/rules.yaml", got.Rules, err)
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	config, err := LoadConfig(filepath.Join(dir, "missing.yaml"), nil)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "missing.yaml") || config != nil {
		t.Errorf("got %v, want the name and the cause, and no configuration", err)
	}
	large := writeFile(t, dir, "large.yaml", "#"+strings.Repeat("x", configBytesMax-1))
	if _, err = LoadConfig(large, nil); err != nil {
		t.Errorf("a file of just configBytesMax bytes: %v", err)
	}
	large = writeFile(t, dir, "large.yaml", "#"+strings.Repeat("x", configBytesMax))
	if _, err = LoadConfig(large, nil); !errors.Is(err, errConfigSize) {
		t.Errorf("a file of configBytesMax+1 bytes: error %v, want %v", err, errConfigSize)
	}
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestInputs: how many topics may be named, and how a variable names one and several.
func TestInputs(t *testing.T) {
	topics := func(n int) []string {
		var names []string
		for i := range n {
			names = append(names, "t"+strconv.Itoa(i))
		}
		return names
	}
	for _, want := range [][]string{topics(1), topics(2), topics(32)} {
		got, err := LoadConfig("", []string{"LAPWING_KAFKA_INPUT=" + strings.Join(want, ",")})
		if err != nil || !slices.Equal(got.Kafka.Input, want) {
			t.Errorf("%d topics: %v, error %v", len(want), got.Kafka.Input, err)
		}
	}
	_, err := LoadConfig("", []string{"LAPWING_KAFKA_INPUT=" + strings.Join(topics(33), ",")})
	if err == nil || !strings.Contains(err.Error(), "LAPWING_KAFKA_INPUT: kafka.input: has 33 topics, at most 32 are read") {
		t.Errorf("33 topics: %v", err)
	}
	o, err := loadText(t, "kafka: {input: [b, a]}").engineOptions()
	if err != nil || !slices.Equal(o.Inputs, []string{"b", "a"}) {
		t.Errorf("the engine gets %v, error %v", o.Inputs, err)
	}
}

// Every bounded key takes its bounds, and nothing beyond them.
func TestBounds(t *testing.T) {
	l := newLoader("")
	bounded := 0
	for i := range l.fields {
		f := &l.fields[i]
		low, high := f.tag.Get("min"), f.tag.Get("max")
		if (low == "") != (high == "") {
			t.Errorf("%s has one bound only", f.path)
		}
		if low == "" {
			if k := f.value.Kind(); k != reflect.String && k != reflect.Bool && k != reflect.Slice && k != reflect.Struct &&
				f.value.Type() != reflect.TypeFor[Ratio]() { // which has its own, see TestRatio
				t.Errorf("%s is a number without bounds", f.path)
			}
			continue
		}
		bounded++
		for value, allowed := range map[int64]bool{
			boundOf(f, low) - 1: false, boundOf(f, low): true, boundOf(f, high): true, boundOf(f, high) + 1: false,
		} {
			l.problems = nil
			f.value.SetInt(value)
			l.checkBounds(f)
			if got := len(l.problems) == 0; got != allowed {
				t.Errorf("%s: %d is allowed: %t, want %t", f.path, value, got, allowed)
			}
		}
	}
	if bounded < 30 {
		t.Errorf("%d bounded keys were tried, there are more", bounded)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"brokers", "group", "output", "dead_letters", "tls"}
	for word, want := range map[string]string{
		"broker": "brokers", "gruop": "group", "dead-letters": "dead_letters", "deadletters": "dead_letters",
		"tsl": "tls", "ouptut": "output", "zookeeper": "", "": "", "x": "",
	} {
		if got := nearest(word, words); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance of %q and %q is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// Whatever a file says: no panic, and each problem is one line that says where.
func FuzzReadYAML(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../../deploy/config/lapwing.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l := newLoader("fuzz.yaml")
		if !l.readYAML(text) && len(l.problems) != 1 {
			t.Errorf("%d problems of syntax, want one", len(l.problems))
		}
		l.check()
		l.problems.sort()
		for _, p := range l.problems {
			if line := p.String(); strings.Contains(line, "\n") || !strings.HasPrefix(line, "fuzz.yaml") {
				t.Errorf("not one line with the file's name: %q", line)
			}
		}
	})
}

// TestOffsetCommitIntervalIsNoStall refuses a stall timeout within which C need not move.
func TestOffsetCommitIntervalIsNoStall(t *testing.T) {
	load := func(stall string) error {
		_, err := LoadConfig(writeFile(t, t.TempDir(), "lapwing.yaml",
			"kafka:\n  transaction_timeout: 1s\n  request_timeout: 1s\n  offset_commit_interval: 2s\n  stall_timeout: "+stall+"\n"), nil)
		return err
	}
	if err := load("4s"); err == nil || !strings.Contains(err.Error(), "4s must be 0s (never) or above twice kafka.offset_commit_interval, 2s") {
		t.Errorf("stall_timeout 4s: %v", err)
	}
	for _, ok := range []string{"4001ms", "0s"} {
		if err := load(ok); err != nil {
			t.Errorf("stall_timeout %s: %v", ok, err)
		}
	}
}
