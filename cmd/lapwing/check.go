package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lapwing/lapwing/rules"
)

type checkCmd struct {
	Config string `placeholder:"FILE" help:"The configuration; left out: the defaults and the environment."`
	Rules  string `placeholder:"FILE" help:"The rules, instead of those that the configuration names."`
}

// Run lists all problems of the configuration and of its rules, or prints a summary of both.
func (c *checkCmd) Run(_ context.Context, con *console) error {
	config, err := LoadConfig(c.Config, con.environ)
	if config == nil {
		return err // Which rules are meant, and for which event types, is not known.
	}
	if c.Rules != "" {
		config.Rules = File(c.Rules)
	}
	set, errRules := config.RuleSet()
	if !errors.Is(errRules, rules.ErrTypes) { // The configuration's problems have it already.
		err = errors.Join(err, headed(errRules))
	}
	if err != nil {
		return err
	}
	return writeSummary(con.stdout, c.Config, config, set)
}

// headed puts a headline before the problems of a rule file.
func headed(err error) error {
	var listed rules.Problems
	if !errors.As(err, &listed) {
		return err
	}
	return fmt.Errorf("%s in the rules\n%w", countProblems(len(listed)), err)
}

// writeSummary says in a few lines what would run.
func writeSummary(w io.Writer, file string, c *Config, set *rules.Set) error {
	if file == "" {
		file = "defaults and environment"
	}
	ruleFile := string(c.Rules)
	if ruleFile == "" {
		ruleFile = "built in"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ok")
	fmt.Fprintf(t, "configuration\t%s\n", file)
	fmt.Fprintf(t, "kafka\t%s, group %s, %s\n", strings.Join(c.Kafka.Brokers, ","), c.Kafka.Group, c.Kafka.Guarantee)
	fmt.Fprintf(t, "topics\t%s -> %s, dead letters %s\n", strings.Join(c.Kafka.Input, ","), c.Kafka.Output, c.Kafka.DeadLetters)
	if len(c.Kafka.Input) > 1 {
		fmt.Fprintf(t, "\tlapwing gateway writes to %s, the first\n", c.Kafka.Input[0])
	}
	fmt.Fprintf(t, "redis\t%s, prefix %s\n", describeRedis(&c.Redis), c.Redis.Prefix)
	fmt.Fprintf(t, "events\t%s\n", strings.Join(c.Events.Types, ", "))
	fmt.Fprintf(t, "rules\t%s, hash %s, exact for events up to %s late\n", ruleFile, set.Hash(), seconds(set.Lateness()))
	for _, r := range set.Rules() {
		fmt.Fprintf(t, "  %d\t%s\n", r.Code, describe(&r, set.Types()))
	}
	for _, problem := range c.exposed() {
		fmt.Fprintf(t, "warning\t%s\n", problem)
	}
	return t.Flush()
}

// describeRedis is the way to the servers in a few words.
func describeRedis(r *RedisConfig) string {
	switch {
	case r.Sentinel.enabled():
		return fmt.Sprintf("master %s of the sentinels %s", r.Sentinel.Master, strings.Join(r.Sentinel.Addrs, ","))
	case r.Cluster:
		return fmt.Sprintf("cluster of %s", strings.Join(r.Addrs, ","))
	}
	return strings.Join(r.Addrs, ",")
}

// describe is a rule in one line.
func describe(r *rules.Rule, types *rules.Types) string {
	names := make([]string, 0, len(r.Types))
	for _, typ := range r.Types {
		names = append(names, types.Name(typ))
	}
	limit := "over " + r.Limit.String()
	if r.Inclusive {
		limit = "at least " + r.Limit.String()
	}
	text := fmt.Sprintf("%s: %s ", r.Kind, strings.Join(names, ", "))
	switch r.Kind {
	case rules.KindAmount:
		text += limit
	case rules.KindStreak:
		text += fmt.Sprintf("%d times in a row", r.Count)
	case rules.KindRising:
		text += fmt.Sprintf("%d amounts, each above the one before", r.Count)
	case rules.KindWindowSum:
		text += fmt.Sprintf("%s in %s, whole after one window of events", limit, seconds(r.Window))
	case rules.KindWindowCount:
		text += fmt.Sprintf("%s events in %s, whole after one window of events", limit, seconds(r.Window))
	}
	if r.Name != "" {
		text += fmt.Sprintf(" (%s)", r.Name)
	}
	return text
}

// seconds writes whole seconds as a duration.
func seconds(n int64) string { return shortDuration(time.Duration(n) * time.Second) }
