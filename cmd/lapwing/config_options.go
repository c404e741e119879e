package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// The methods here turn a Config that LoadConfig took into the options of packages. They fail only where a file cannot
// be read any more.

// EventTypes returns the configured event types.
func (c *Config) EventTypes() (*rules.Types, error) {
	return rules.NewTypes(c.Events.Types...)
}

// RuleSet reads and compiles the rule file, or the built-in rules where none is configured. An error of the rules
// themselves is rules.Problems.
func (c *Config) RuleSet() (*rules.Set, error) {
	types, err := c.EventTypes()
	if err != nil {
		return nil, err
	}
	if c.Rules == "" {
		if slices.Equal(types.Names(), rules.DefaultTypes().Names()) {
			return rules.Builtin(), nil
		}
		set, err := rules.Parse("built-in rules", rules.BuiltinText(), types)
		if err != nil {
			return nil, fmt.Errorf("the built-in rules need the event types %s, and events.types is %s; name a rule file with the key rules",
				strings.Join(rules.DefaultTypes().Names(), ", "), strings.Join(c.Events.Types, ", "))
		}
		return set, nil
	}
	text, err := readBounded(string(c.Rules), rules.FileBytesMax)
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	return rules.Parse(string(c.Rules), text, types)
}

// DecoderOptions returns what is an event.
func (c *Config) DecoderOptions() (contract.DecoderOptions, error) {
	types, err := c.EventTypes()
	if err != nil {
		return contract.DecoderOptions{}, err
	}
	return contract.DecoderOptions{
		Types:               types,
		TimeMillis:          c.Events.TimeUnit == "ms",
		TimeFromRecord:      c.Events.TimeFrom == "record",
		AcceptNumericAmount: c.Events.AcceptNumericAmount,
		StripFrame:          c.Events.StripFrame,
		MaxFuture:           c.Events.MaxFuture,
		BytesMax:            int(c.Events.BytesMax),
	}, nil
}

// ResultDetail returns how much a published result tells.
func (c *Config) ResultDetail() contract.Detail { return detailOf(c.Detail) }

func detailOf(word string) contract.Detail {
	if word == "full" {
		return contract.DetailFull
	}
	return contract.DetailMinimal
}

// WireOptions returns how the cluster is reached.
func (c *Config) WireOptions() (wire.Options, error) {
	k := &c.Kafka
	tlsConfig, err := k.TLS.client()
	if err != nil {
		return wire.Options{}, fmt.Errorf("kafka.tls: %w", err)
	}
	mechanism, err := k.SASL.mechanism()
	if err != nil {
		return wire.Options{}, fmt.Errorf("kafka.sasl: %w", err)
	}
	return wire.Options{
		Brokers:        k.Brokers,
		ClientID:       k.ClientID,
		TLS:            tlsConfig,
		SASL:           mechanism,
		DialTimeout:    k.DialTimeout,
		RequestTimeout: k.RequestTimeout,
		Topics:         append(slices.Clone(k.Input), k.Output, k.DeadLetters),
	}, nil
}

// RedisOptions returns how the states are stored.
func (c *Config) RedisOptions() (state.RedisOptions, error) {
	r := &c.Redis
	types, err := c.EventTypes()
	if err != nil {
		return state.RedisOptions{}, err
	}
	tlsConfig, err := r.TLS.client()
	if err != nil {
		return state.RedisOptions{}, fmt.Errorf("redis.tls: %w", err)
	}
	password, err := readPassword(r.Password, r.PasswordFile)
	if err != nil {
		return state.RedisOptions{}, fmt.Errorf("redis.password_file: %w", err)
	}
	o := state.DefaultRedisOptions()
	o.Addrs, o.Cluster, o.Shards = r.Addrs, r.Cluster, r.shards()
	if s := &r.Sentinel; s.enabled() {
		password, err := readPassword(s.Password, s.PasswordFile)
		if err != nil {
			return state.RedisOptions{}, fmt.Errorf("redis.sentinel.password_file: %w", err)
		}
		o.Addrs = nil // the default, which nobody has set
		o.Sentinel = state.SentinelOptions{Master: s.Master, Addrs: s.Addrs, Username: s.Username, Password: password}
	}
	o.Username, o.Password = r.Username, password
	o.DB = r.DB
	o.TLS = tlsConfig
	o.Prefix, o.Group = r.Prefix, c.Kafka.Group
	o.Types = types
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = r.DialTimeout, r.ReadTimeout, r.WriteTimeout
	o.PoolSize = r.PoolSize
	return o, nil
}
