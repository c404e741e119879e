package main

import "fmt"

// subject is what a row of the table measures: an engine on an input.
type subject struct {
	engine  engine
	input   inputSpec
	latency bool // measured too; with uniform users, which it does not depend on
}

// selectSubjects returns what the options select, in the order of the table.
func selectSubjects(o options) ([]subject, error) {
	var all []subject
	if o.scenarios {
		all = scenarios(o)
	} else {
		for _, distribution := range o.distributions {
			for _, e := range engines() {
				all = append(all, subject{e, o.spec(distribution, e.slow), !o.skipLatency && distribution == o.distributions[0]})
			}
		}
	}
	var selected []subject
	for _, s := range all {
		if o.selected(s.engine.name) {
			selected = append(selected, s)
		}
	}
	if len(selected) == 0 {
		return nil, fmt.Errorf("-only %v selects no engine; -list lists them", o.only)
	}
	return selected, nil
}

// scenarios returns Lapwing's own: each differs in one respect from the first, its default configuration with detail:
// minimal; that with many users from the one with few, both in order.
func scenarios(o options) []subject {
	byName := map[string]engine{}
	for _, e := range append(engines(), ownEngines()...) {
		byName[e.name] = e
	}
	on := func(engine, input string, latency bool) subject {
		return subject{byName[engine], o.spec(input, false), latency && !o.skipLatency}
	}
	return []subject{
		on(nameLapwing, uniform, true), on(nameLapwingAtLeastOnce, uniform, true), on(nameLapwingFull, uniform, false),
		on(nameLapwingRules, uniform, false), on(nameLapwing, zipf, false), on(nameLapwing, hotUser, false),
		on(nameLapwing, fewUsers, false), on(nameLapwing, manyUsers, false),
	}
}
