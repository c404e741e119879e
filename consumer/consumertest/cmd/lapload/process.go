package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// processes are those whose CPU time is read from /proc; see proc(5).
type processes struct {
	pids map[string]int // by "name pid"
}

// clockTick is the unit of CPU times in /proc: Linux has it fixed at 100 a second for programs.
const clockTick = 10 * time.Millisecond

func newProcesses(list string) (processes, error) {
	p := processes{pids: map[string]int{}}
	for text := range strings.SplitSeq(list, ",") {
		if text == "" {
			continue
		}
		pid, err := strconv.Atoi(text)
		if err != nil {
			return p, fmt.Errorf("-pids: %w", err)
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			return p, fmt.Errorf("-pids: %w", err)
		}
		p.pids[fmt.Sprintf("%s %d", strings.TrimSpace(string(name)), pid)] = pid
	}
	return p, nil
}

func (p processes) names() []string {
	var names []string
	for name := range p.pids {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// cpu returns the user and system time that each process has used; of one that has ended, nothing.
func (p processes) cpu() map[string]time.Duration {
	used := map[string]time.Duration{}
	for name, pid := range p.pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// The name, the second field, stands in parentheses and may hold spaces; utime and stime are fields 14 and 15.
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 13 {
			continue
		}
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		used[name] = time.Duration(user+system) * clockTick
	}
	return used
}
