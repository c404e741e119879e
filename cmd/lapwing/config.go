package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Config is the whole configuration, in the shape of the file. deploy/config/lapwing.yaml shows every key with its
// meaning; the tags say what a key takes:
//
//	yaml   the name of the key
//	allow  the words that are taken, separated by |
//	min    the smallest value that is taken
//	max    the largest value that is taken
//
// A key is a leaf (a text, a number, a duration, a size, a list of texts...) or a section. Every leaf can be given by an
// environment variable too, see readEnviron.
type Config struct {
	Kafka  KafkaConfig  `yaml:"kafka"`
	Redis  RedisConfig  `yaml:"redis"`
	Events EventsConfig `yaml:"events"`
	// Rules is the rule file; empty: the four that are built in.
	Rules File `yaml:"rules"`
	// Results says which results are published.
	Results string `yaml:"results" allow:"all|alerts"`
	// Detail says how much a published result tells.
	Detail string `yaml:"detail" allow:"full|minimal"`
	// HTTP is where the engine listens for /metrics, /healthz and /readyz; empty: nowhere.
	HTTP string `yaml:"http"`
	// Pprof adds /debug/pprof there.
	Pprof   bool          `yaml:"pprof"`
	Admin   AdminConfig   `yaml:"admin"`
	Log     LogConfig     `yaml:"log"`
	Tracing TracingConfig `yaml:"tracing"`
	Gateway GatewayConfig `yaml:"gateway"`
}

// configBytesMax bounds a configuration file: it is parsed as a whole.
const configBytesMax = 256 << 10

// errConfigSize is wrapped where a configuration file is larger than configBytesMax.
var errConfigSize = errors.New("the file is too large")

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{
		Kafka:   newKafkaConfig(),
		Redis:   newRedisConfig(),
		Events:  newEventsConfig(),
		Results: "all",
		Detail:  "full",
		HTTP:    "127.0.0.1:9644",
		Admin:   newAdminConfig(),
		Log:     newLogConfig(),
		Tracing: newTracingConfig(),
		Gateway: newGatewayConfig(),
	}
}

// LoadConfig returns the defaults, overridden by a file (none if the name is empty) and then by environment variables, and
// checked. What is wrong is returned all at once, as problems. The configuration is returned with them too, as far as it
// goes, so that check can look at its rules; nothing else may use it then. It is nil where the file could not be read, or
// its syntax is wrong, which is reported alone.
func LoadConfig(file string, environ []string) (*Config, error) {
	l := newLoader(file)
	if file != "" {
		text, err := readBounded(file, configBytesMax)
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		if !l.readYAML(text) {
			return nil, l.problems
		}
	}
	l.readEnviron(environ)
	l.check()
	if len(l.problems) > 0 {
		l.problems.sort()
		return l.config, l.problems
	}
	return l.config, nil
}

// readBounded reads a file of at most bytesMax bytes.
func readBounded(file string, bytesMax int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, bytesMax+1))
	if err != nil {
		return nil, err // It is a *PathError, which names the file.
	}
	if int64(len(text)) > bytesMax {
		return nil, fmt.Errorf("%s: %w: at most %d bytes are allowed", file, errConfigSize, bytesMax)
	}
	return text, nil
}

// loader fills a Config and remembers where each value came from.
type loader struct {
	config   *Config
	fields   []field
	file     string
	given    map[string]given // by path
	failed   map[string]bool  // paths whose value could not be read (the default stands there) or is not allowed
	problems problems
}

// given is a value as somebody wrote it.
type given struct {
	origin origin
	text   string
}

func newLoader(file string) *loader {
	config := NewConfig()
	return &loader{
		config: config,
		fields: fieldsOf(config),
		file:   file,
		given:  map[string]given{},
		failed: map[string]bool{},
	}
}

// inDirectory resolves a file name that stands in the configuration file: it is relative to it.
func (l *loader) inDirectory(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(l.file), name)
}
