package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	// proc(5): pid comm state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime
	// priority
	const text = "4242 (a (strange) name) S 1 2 3 4 5 6 7 8 9 10 110 20 3 4 20 0 9 0 777 1000 50\n"
	if got, err := parseStat(text); err != nil || got != 137*10*time.Millisecond {
		t.Errorf("parseStat = %v, %v, want 1.37 s", got, err)
	}
	for _, text := range []string{"", "4242 (short) S 1 2 3", "4242 (x) S 1 2 3 4 5 6 7 8 9 10 a 20 3 4 20"} {
		if got, err := parseStat(text); err == nil {
			t.Errorf("parseStat(%q) = %v, want an error", text, got)
		}
	}
}

func TestParseStatus(t *testing.T) {
	got, err := parseStatus("Name:\tjava\nVmPeak:\t  900 kB\nVmHWM:\t    1024 kB\nVmRSS:\t     512 kB\nThreads:\t9\n")
	if want := (memory{peak: 1 << 20, resident: 512 << 10}); err != nil || got != want {
		t.Errorf("parseStatus = %+v, %v, want %+v", got, err, want)
	}
	for _, text := range []string{"Name:\tx\nVmRSS:\t5 kB\n", "VmHWM:\tmany kB\n"} {
		if got, err := parseStatus(text); err == nil {
			t.Errorf("parseStatus(%q) = %+v, want an error", text, got)
		}
	}
}

// TestReadUsage reads our own process, which has used time when it has worked, and leaves out what is not known.
func TestReadUsage(t *testing.T) {
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; { // a pause would use no CPU
	}
	u, err := readUsage(os.Getpid(), 0, 0)
	if err != nil || u.engine < 50*time.Millisecond || u.broker != 0 || u.redis != 0 {
		t.Errorf("readUsage = %+v, %v", u, err)
	}
	if m, err := memoryOf(os.Getpid()); err != nil || m.resident < 1<<20 || m.peak < m.resident/2 {
		t.Errorf("memoryOf = %+v, %v", m, err)
	}
}
