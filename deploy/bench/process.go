package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc, which Linux has fixed at 100 a second for programs; see proc(5).
const clockTick = 10 * time.Millisecond

// cpuTime returns the user and system time of a process and of those of its children that have ended.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time: %w", err)
	}
	return parseStat(string(text))
}

func parseStat(text string) (time.Duration, error) {
	// The name, the second field, stands in parentheses and may hold spaces and parentheses.
	end := strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[end+1:])
	const utime, cstime = 14 - 3, 17 - 3 // fields of proc(5), in what follows the second
	if end < 0 || len(fields) <= cstime {
		return 0, fmt.Errorf("CPU time: %q is no line of /proc/PID/stat", text)
	}
	var ticks int64
	for _, field := range fields[utime : cstime+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// memory is what a process has of it, in bytes.
type memory struct{ peak, resident int64 }

func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, fmt.Errorf("memory: %w", err)
	}
	return parseStatus(string(text))
}

func parseStatus(text string) (memory, error) {
	var m memory
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*int64{"VmHWM": &m.peak, "VmRSS": &m.resident}[name]
		if into == nil {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return m, fmt.Errorf("memory: %s: %w", strings.TrimSpace(line), err)
		}
		*into = kilobytes << 10
	}
	if m.peak == 0 || m.resident == 0 {
		return m, fmt.Errorf("memory: no VmHWM or VmRSS in %.80q", text)
	}
	return m, nil
}

// usage is the CPU time of those processes that are known.
type usage struct{ engine, broker, redis time.Duration }

// readUsage returns what the processes have used so far; of one that is not known (0), nothing.
func readUsage(engine, broker, redis int) (usage, error) {
	var u usage
	for _, p := range []struct {
		pid  int
		into *time.Duration
	}{{engine, &u.engine}, {broker, &u.broker}, {redis, &u.redis}} {
		if p.pid == 0 {
			continue
		}
		var err error
		if *p.into, err = cpuTime(p.pid); err != nil {
			return u, err
		}
	}
	return u, nil
}
