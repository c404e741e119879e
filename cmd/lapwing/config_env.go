package main

import (
	"reflect"
	"regexp"
	"strings"
)

// testPrefix begins the names of variables that only the tests read.
const testPrefix = variablePrefix + "TEST_"

// serviceLink matches the variables that Kubernetes sets in every pod for each service of the namespace: a service that
// is named lapwing gives LAPWING_SERVICE_HOST, LAPWING_PORT, LAPWING_PORT_9644_TCP_ADDR and more. They are none of ours.
var serviceLink = regexp.MustCompile(`^LAPWING(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// readEnviron sets what the environment says. Each leaf has a variable, LAPWING_ and its path in capitals:
// LAPWING_KAFKA_SASL_PASSWORD is kafka.sasl.password. A list is separated by commas. A variable that begins like ours and
// is none is a problem, since it is probably a mistake in writing.
func (l *loader) readEnviron(environ []string) {
	fields := map[string]*field{}
	var names []string
	for i := range l.fields {
		fields[l.fields[i].variable] = &l.fields[i]
		names = append(names, l.fields[i].variable)
	}
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, variablePrefix) || strings.HasPrefix(name, testPrefix) {
			continue
		}
		f, ok := fields[name]
		switch {
		case ok:
			l.setFromVariable(f, text)
		case !serviceLink.MatchString(name):
			l.unknownVariable(name, names)
		}
	}
}

func (l *loader) unknownVariable(name string, names []string) {
	message := "unknown variable; remove it"
	if meant := nearest(name, names); meant != "" {
		message = "unknown variable; did you mean " + meant + "?"
	}
	l.problems = append(l.problems, problem{origin: origin{variable: name}, message: message})
}

func (l *loader) setFromVariable(f *field, text string) {
	// Whatever stood in the file is replaced, and with it what was wrong there as far as relations go.
	delete(l.failed, f.path)
	g := given{origin: origin{variable: f.variable}, text: text}
	if !f.isList() {
		l.set(f, g)
		return
	}
	l.given[f.path] = g
	var texts []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			l.given[element(f.path, len(texts))] = given{origin: g.origin, text: part}
			texts = append(texts, part)
		}
	}
	f.value.Set(reflect.ValueOf(texts))
}
