package state

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// AccessError is a server that refuses the login, a command or a key. Time does not mend it.
type AccessError struct {
	Addr string // the server, host:port, or how it is found
	User string // who logged in; "default" without a name
	Err  error  // what it said

	remedy string
}

// Error names the server, the user and the remedy.
func (e *AccessError) Error() string {
	step := "authentication"
	if isPermission(e.Err) {
		step = "permission"
	}
	return fmt.Sprintf("redis %s: %s of the user %s: access refused: %s; %s", e.Addr, step, e.User, oneLine(e.Err), e.remedy)
}

// Unwrap returns what the server said.
func (e *AccessError) Unwrap() error { return e.Err }

// account is who logs in to servers, of which kind, and what it needs there. It names that in errors.
type account struct {
	user     string
	section  string   // of the configuration
	keys     string   // pattern of the store's keys
	sentinel *account // to the sentinels; nil: it is that one
}

func newAccount(o RedisOptions) account {
	return account{
		user: userName(o.Username), section: "redis", keys: o.Prefix + ":" + o.Group + ":*",
		sentinel: &account{user: userName(o.Sentinel.Username), section: "redis.sentinel"},
	}
}

// ofSentinel is who logs in to the sentinels.
func (a account) ofSentinel() account { return *a.sentinel }

// userName is the name of a user as ACL commands take it.
func userName(name string) string {
	if name == "" {
		return "default"
	}
	return name
}

// refused returns the error of a login or a permission that was refused.
func (a account) refused(addr string, err error) *AccessError {
	if a.sentinel != nil && strings.Contains(err.Error(), noSentinel) {
		a = *a.sentinel
	}
	e := &AccessError{Addr: addr, User: a.user, Err: err}
	if !isPermission(err) {
		e.remedy = fmt.Sprintf("set %[1]s.username, and %[1]s.password_file or the variable LAPWING_%[2]s_PASSWORD, to a login of this server",
			a.section, strings.ToUpper(strings.ReplaceAll(a.section, ".", "_")))
		return e
	}
	e.remedy = fmt.Sprintf("allow it: ACL SETUSER %s %s", e.User, a.missingRule(err))
	return e
}

// missingRule is the ACL rule that allows what was refused.
func (a account) missingRule(err error) string {
	if strings.Contains(err.Error(), "channel") {
		return "&" + strings.Join(sentinelChannels, " &")
	}
	if name := refusedCommand(err); name != "" {
		return "+" + name
	}
	return "~" + a.keys
}

// noSentinel is in go-redis's error where no sentinel has told of the master (sentinel.go).
const noSentinel = "all sentinels specified"

// isPermission reports whether the user may not run a command or use a key. Of one inside a script Redis says so only in
// words: the first up to 7.0, the second since 7.2 (script.c).
func isPermission(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	text := reply.Error()
	return strings.HasPrefix(text, "NOPERM") || strings.Contains(text, "The user executing the script can't") ||
		strings.Contains(text, "ACL failure in script")
}

var (
	// namedCommand finds the command in the words of Redis: "no permissions to run the 'script|load' command".
	namedCommand = regexp.MustCompile(`run the '([^']+)' command`)
	// scriptLine finds the script, by its SHA-1, and the line in it.
	scriptLine = regexp.MustCompile(`(?:script: |f_)([0-9a-f]{40}).*@user_script: ?([0-9]+)`)
	// scriptCommand finds the command in a line of a script.
	scriptCommand = regexp.MustCompile(`redis\.call\('([A-Z]+)'`)
)

// refusedCommand returns the command that the user may not run, "" if it is a key that was refused. Before 7.2 Redis names
// of a script only the line.
func refusedCommand(err error) string {
	text := err.Error()
	if found := namedCommand.FindStringSubmatch(text); found != nil {
		return strings.ToLower(found[1])
	}
	found := scriptLine.FindStringSubmatch(text)
	if found == nil || strings.Contains(text, "key") {
		return ""
	}
	number, err := strconv.Atoi(found[2])
	if err != nil {
		return ""
	}
	for _, source := range []string{claimSource, swapSource, flushSource} {
		lines := strings.Split(source, "\n")
		if redis.NewScript(source).Hash() != found[1] || number < 1 || number > len(lines) {
			continue
		}
		if command := scriptCommand.FindStringSubmatch(lines[number-1]); command != nil {
			return strings.ToLower(command[1])
		}
	}
	return ""
}
