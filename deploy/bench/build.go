package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// build builds what the subjects need into a folder.
func build(ctx context.Context, o options, subjects []subject, dir string) (programs, error) {
	p := programs{dir: dir, java: o.java}
	if err := command(ctx, rootDir, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, "./cmd/lapwing"); err != nil {
		return p, err
	}
	if err := command(ctx, ".", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, "./peers/..."); err != nil {
		return p, err
	}
	if !slices.ContainsFunc(subjects, func(s subject) bool { return s.engine.streams }) {
		return p, nil
	}
	var err error
	if p.streams, err = filepath.Abs(o.streamsDir); err != nil {
		return p, fmt.Errorf("-streams-dir: %w", err)
	}
	if _, err := os.Stat(filepath.Join(p.streams, "pom.xml")); err != nil {
		return p, fmt.Errorf("-streams-dir: %w", err)
	}
	return p, command(ctx, p.streams, "mvn", "-q", "-B", "-DskipTests", "package")
}

// command runs a command that is expected to be silent.
func command(ctx context.Context, dir, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v in %s: %w\n%s", name, args, dir, err, out)
	}
	return nil
}
