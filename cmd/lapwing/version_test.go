package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionCommand(t *testing.T) {
	defer func(before string) { version = before }(version)
	version = "v1.2.3"
	code, stdout, stderr := lapwing(t, "", "version")
	if want := "lapwing v1.2.3 " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"; code != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q; want 0 and %q", code, stdout, stderr, want)
	}
	version = ""
	if _, stdout, _ = lapwing(t, "", "version"); strings.Contains(stdout, "v1.2.3") || !strings.HasPrefix(stdout, "lapwing ") {
		t.Errorf("without an injected version: %q", stdout)
	}
}

func TestRecordedVersion(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	revision := setting("vcs.revision", "0123456789abcdef0123456789abcdef01234567")
	for _, c := range []struct {
		name     string
		module   string
		settings []debug.BuildSetting
		want     string
	}{
		{"installed as a module", "v0.3.1", []debug.BuildSetting{revision}, "v0.3.1"},
		{"clean checkout", "(devel)", []debug.BuildSetting{revision, setting("vcs.modified", "false")}, "0123456789ab"},
		{"changed checkout", "(devel)", []debug.BuildSetting{revision, setting("vcs.modified", "true")}, "0123456789ab-dirty"},
		{"no module version", "", []debug.BuildSetting{revision}, "0123456789ab"},
		{"nothing recorded", "", nil, "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			info := &debug.BuildInfo{Main: debug.Module{Version: c.module}, Settings: c.settings}
			if got := recordedVersion(info); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
