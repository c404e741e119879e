package main

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// check finds what is wrong with values that could be read: first each by itself, then in relation to others.
func (l *loader) check() {
	for i := range l.fields {
		l.checkBounds(&l.fields[i])
	}
	l.checkKafka()
	l.checkRedis()
	l.checkEvents()
	if l.config.HTTP != "" {
		l.checkListen("http", l.config.HTTP)
	}
	l.checkServer("admin", &l.config.Admin.TLS, l.config.Admin.TokensFile, l.config.Admin.ReadHeaderTimeout, l.config.Admin.ReadTimeout)
	l.checkGateway()
	l.checkTracing()
}

// wrong notes that a value is not allowed. The path may be that of an element of a list.
func (l *loader) wrong(path, message string) {
	whole, _, _ := strings.Cut(path, "[")
	l.failed[whole] = true
	l.note(path, message)
}

// relation notes that values do not fit together, unless one of them is wrong already: then it is that one which is to
// be changed. The message is about the first path; it stands where the first of them that was given stands.
func (l *loader) relation(message string, paths ...string) {
	if slices.ContainsFunc(paths, func(path string) bool { return l.failed[path] }) {
		return
	}
	at := l.originOf(paths...)
	l.problems = append(l.problems, problem{origin: at, path: paths[0], message: message})
}

// note adds a problem where the value of a path stands, with the value.
func (l *loader) note(path, message string) {
	p := problem{origin: l.originOf(path), path: path, message: message}
	whole, _, _ := strings.Cut(path, "[")
	if g, ok := l.given[path]; ok && !l.field(whole).isSecret() && !mayHaveLogin(g.text) {
		p.got = quoted(g.text)
	}
	l.problems = append(l.problems, p)
}

// mayHaveLogin reports whether a text looks like an address with a user and a password, redis://user:password@host:6379.
func mayHaveLogin(text string) bool {
	return strings.Contains(text, "@") || strings.Contains(text, "://")
}

// originOf is where the first of the values that was given stands, and the file as a whole if all are defaults.
func (l *loader) originOf(paths ...string) origin {
	for _, path := range paths {
		if g, ok := l.given[path]; ok {
			return g.origin
		}
	}
	return origin{file: l.file}
}

// isSet reports whether a text was given for a key, and not an empty one.
func (l *loader) isSet(path string) bool { return l.given[path].text != "" }

// quoted shortens a value to what fits a message.
func quoted(text string) string {
	const shownMax = 60
	if len(text) > shownMax {
		return strconv.Quote(strings.ToValidUTF8(text[:shownMax], "")) + "..."
	}
	return strconv.Quote(text)
}

// element is the path of an element of a list.
func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// checkBounds checks a value against the tags allow, min and max.
func (l *loader) checkBounds(f *field) {
	if words, ok := f.tag.Lookup("allow"); ok {
		allowed := strings.Split(words, "|")
		if slices.Contains(allowed, f.value.String()) {
			return
		}
		allowed = slices.DeleteFunc(allowed, func(word string) bool { return word == "" })
		l.wrong(f.path, "must be "+orList(allowed))
		return
	}
	low, high := f.tag.Get("min"), f.tag.Get("max")
	if low == "" {
		return
	}
	if n := f.value.Int(); n < boundOf(f, low) || n > boundOf(f, high) {
		l.wrong(f.path, fmt.Sprintf("must be from %s to %s", low, high))
	}
}

// boundOf reads the tag min or max of a field, which is written as its values are.
func boundOf(f *field, text string) int64 {
	bound := reflect.New(f.value.Type()).Elem()
	if err := setText(bound, text); err != nil {
		panic(fmt.Sprintf("config: bound %q of %s %v", text, f.path, err))
	}
	return bound.Int()
}

// orList joins words: a, b or c.
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// checkAddresses checks a list of addresses to dial.
func (l *loader) checkAddresses(path string, addrs []string) {
	if len(addrs) == 0 {
		l.wrong(path, "must name at least one address, host:port")
	}
	for i, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		n, errPort := strconv.ParseUint(port, 10, 16)
		section := path[:strings.LastIndexByte(path, '.')]
		switch {
		case mayHaveLogin(addr):
			l.wrong(element(path, i), "must be host:port alone, without a scheme and a login; "+loginKeys(section))
		case err != nil || host == "" || errPort != nil || n == 0:
			l.wrong(element(path, i), "must be host:port with a port from 1 to 65535")
		case slices.Contains(addrs[:i], addr):
			l.wrong(element(path, i), "is there twice")
		}
	}
}

// loginKeys says where the login to the services of a section goes.
func loginKeys(section string) string {
	if section == "kafka" {
		section = "kafka.sasl"
	}
	return fmt.Sprintf("users go to %[1]s.username, passwords to the file of %[1]s.password_file", section)
}

// checkListen checks an address to listen on. An empty host is every interface, port 0 a free one.
func (l *loader) checkListen(path, addr string) {
	_, port, err := net.SplitHostPort(addr)
	_, errPort := strconv.ParseUint(port, 10, 16)
	if err != nil || errPort != nil {
		l.wrong(path, "must be an address to listen on like 127.0.0.1:5001 or :5001")
	}
}

// shortDuration writes a duration without its zero parts: 1m for 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
