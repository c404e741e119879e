package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// about says on what, of what and how it was measured. What cannot be found out is said to be unknown.
func (l *lab) about(ctx context.Context, args []string) []string {
	redisVersion, err := l.services.redisInfo(ctx, "server", "redis_version")
	if err != nil {
		redisVersion = unknown
	}
	versions := []string{"Kafka " + l.services.kafkaVersion, "Redis " + redisVersion, runtime.Version()}
	for _, module := range []string{"github.com/twmb/franz-go", "github.com/segmentio/kafka-go", "github.com/redis/go-redis/v9"} {
		versions = append(versions, filepath.Base(strings.TrimSuffix(module, "/v9"))+" "+output(ctx, "go", "list", "-m", "-f", "{{.Version}}", module))
	}
	if l.programs.streams != "" {
		// `java -version` answers on standard error; --version on standard output, in several lines.
		java, _, _ := strings.Cut(output(ctx, "java", "--version"), "\n")
		versions = append(versions, "Kafka Streams "+streamsVersion(l.programs.streams), java, "JVM options "+strings.Join(l.programs.java, " "))
	}
	revision := output(ctx, "git", "rev-parse", "--short=12", "HEAD")
	if output(ctx, "git", "status", "--porcelain") != "" {
		revision += " with changes"
	}
	rounds := fmt.Sprintf("%d rounds, each figure a median (min..max)", l.o.repeat)
	if l.o.repeat == 1 {
		rounds = "one round"
	}
	return []string{
		fmt.Sprintf("machine: %s, %d cores, %s of memory, Linux %s; load, broker, Redis and engine share it", cpuModel(), runtime.NumCPU(),
			memoryTotal(), firstLine("/proc/sys/kernel/osrelease")),
		"versions: " + strings.Join(versions, ", "),
		fmt.Sprintf("%s, Lapwing %s, %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"), revision, rounds),
		"command: go run . " + strings.Join(args, " "),
	}
}

const unknown = "unknown"

// output returns what a command prints, or unknown.
func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return unknown
	}
	return strings.TrimSpace(string(out))
}

func firstLine(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return unknown
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// field returns the first value of a name in a file of "name : value" lines.
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return unknown
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return unknown
}

func cpuModel() string { return field("/proc/cpuinfo", "model name") }

func memoryTotal() string { return field("/proc/meminfo", "MemTotal") }

// streamsVersion is that in the name of the library's file.
func streamsVersion(dir string) string {
	files, err := filepath.Glob(filepath.Join(dir, "target", "lib", "kafka-streams-[0-9]*.jar"))
	if err != nil || len(files) == 0 {
		return unknown
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(files[0]), "kafka-streams-"), ".jar")
}
