package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestRefusals: what each version of Redis says when it refuses something, and what Lapwing says to do. The replies of 7.0
// were taken from a server, those of the others from the sources of Redis (acl.c, script.c, scripting.c).
func TestRefusals(t *testing.T) {
	lineOf := func(source, text string) int {
		for i, line := range strings.Split(source, "\n") {
			if strings.Contains(line, text) {
				return i + 1
			}
		}
		t.Fatalf("no %q in\n%s", text, source)
		return 0
	}
	claim, flush := redis.NewScript(claimSource).Hash(), redis.NewScript(flushSource).Hash()
	mset, clock := lineOf(flushSource, "MSET"), lineOf(claimSource, "TIME")
	who := newAccount(RedisOptions{Username: "u", Prefix: "p", Group: "g", Sentinel: SentinelOptions{Username: "s"}})
	for reply, want := range map[string]string{
		"NOPERM this user has no permissions to run the 'evalsha' command or its subcommand": "+evalsha",
		"NOPERM this user has no permissions to run the 'script|load' command":               "+script|load",
		"NOPERM User u has no permissions to run the 'mget' command":                         "+mget",
		"NOPERM this user has no permissions to access one of the keys used as arguments":    "~p:g:*",
		"NOPERM No permissions to access a key":                                              "~p:g:*",
		fmt.Sprintf("ERR Error running script (call to f_%s): @user_script:%[2]d: @user_script: %[2]d: The user executing the script can't run this command or subcommand", claim, clock): "+time",
		fmt.Sprintf("ERR The user executing the script can't run this command or subcommand script: %s, on @user_script:%d.", flush, mset):                                                "+mset",
		fmt.Sprintf("ERR The user executing the script can't access at least one of the keys mentioned in the command arguments script: %s, on @user_script:%d.", flush, mset):            "~p:g:*",
		fmt.Sprintf("ERR ACL failure in script: User u has no permissions to run the 'set' command script: %s, on @user_script:%d.", flush, mset):                                         "+set",
		fmt.Sprintf("ERR ACL failure in script: No permissions to access a key script: %s, on @user_script:%d.", flush, mset):                                                             "~p:g:*",
	} {
		err := who.error("r:1", fmt.Errorf("claim: %w", serverReply(reply)))
		if err == nil || Retriable(err) || !HasRemedy(err) || !strings.HasPrefix(err.Error(), "redis r:1: permission of the user u: access refused: ") ||
			!strings.HasSuffix(err.Error(), "; allow it: ACL SETUSER u "+want) {
			t.Errorf("%s\ngives %v, want %s", reply, err, want)
		}
	}
	for _, test := range []struct{ reply, want string }{
		{"WRONGPASS invalid username-password pair or user is disabled.", "redis r:1: authentication of the user u: access refused: WRONGPASS invalid username-password pair or user is disabled.; " +
			"set redis.username, and redis.password_file or the variable LAPWING_REDIS_PASSWORD, to a login of this server"},
		{"NOAUTH Authentication required.", "authentication of the user u"},
	} {
		if err := who.error("r:1", serverReply(test.reply)); Retriable(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s gives %v", test.reply, err)
		}
	}
	// Of sentinels, what each of them said, once.
	err := who.refused("master m", fmt.Errorf("redis: %s in configuration are unreachable: %w", noSentinel,
		fmt.Errorf("%w\n%w", serverReply("WRONGPASS no"), serverReply("WRONGPASS no"))))
	const want = "redis master m: authentication of the user s: access refused: redis: all sentinels specified in configuration are unreachable: WRONGPASS no, WRONGPASS no; " +
		"set redis.sentinel.username, and redis.sentinel.password_file or the variable LAPWING_REDIS_SENTINEL_PASSWORD, to a login of this server"
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
