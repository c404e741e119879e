package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
)

func TestLoggerLevels(t *testing.T) {
	for level, want := range map[string]string{"debug": "diwe", "info": "iwe", "warn": "we", "error": "e"} {
		var out bytes.Buffer
		l, _ := newLogger(&out, LogConfig{Level: level, Format: "text"})
		l.Debug("d")
		l.Info("i")
		l.Warn("w")
		l.Error("e")
		var got string
		for line := range strings.Lines(out.String()) {
			_, message, _ := strings.Cut(strings.TrimSpace(line), "msg=")
			got += message
		}
		if got != want {
			t.Errorf("level %s lets %q through, want %q", level, got, want)
		}
	}
}

func TestLoggerFormats(t *testing.T) {
	var out bytes.Buffer
	l, _ := newLogger(&out, LogConfig{Level: "info", Format: "json"})
	l.Info("joined", slog.Any("password", Secret("hunter2")))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%q is not JSON: %v", out.String(), err)
	}
	if line["msg"] != "joined" || line["password"] != redacted {
		t.Errorf("got %v, want the message and a redacted password", line)
	}
	out.Reset()
	l, _ = newLogger(&out, LogConfig{Level: "info", Format: "text"})
	l.Info("joined", "generation", 7)
	if !strings.Contains(out.String(), "msg=joined generation=7") {
		t.Errorf("got %q, want text with msg and generation", out.String())
	}
}
