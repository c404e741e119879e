package main

import (
	"io"
	"log/slog"
	"time"
)

// LogConfig is the section log.
type LogConfig struct {
	Level  string `yaml:"level" allow:"debug|info|warn|error"`
	Format string `yaml:"format" allow:"text|json"`
	// RepeatMax is how many lines of one cause are written in RepeatInterval; see repeatHandler.
	RepeatMax      int           `yaml:"repeat_max" min:"1" max:"1000000"`
	RepeatInterval time.Duration `yaml:"repeat_interval" min:"0s" max:"24h"`
}

func newLogConfig() LogConfig {
	return LogConfig{Level: "info", Format: "text", RepeatMax: 20, RepeatInterval: time.Minute}
}

// newLogger returns the logger that a configuration asks for, and what writes the last that it has held back. The
// configuration is one that LoadConfig took.
func newLogger(w io.Writer, c LogConfig) (log *slog.Logger, closeLog func()) {
	options := &slog.HandlerOptions{Level: logLevel(c.Level)}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if c.Format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	if c.RepeatInterval == 0 {
		return slog.New(handler), func() {}
	}
	repeats := newRepeats(c.RepeatMax, c.RepeatInterval)
	return slog.New(&repeatHandler{next: handler, repeats: repeats}), repeats.close
}

// logLevel is info for a word that is none of the others.
func logLevel(word string) slog.Level {
	switch word {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
