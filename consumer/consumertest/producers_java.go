package consumertest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

//go:embed testdata/JavaProducer.java
var javaProducer []byte

// javaAcknowledged begins the last line of the program, which ends with a count.
const javaAcknowledged = "acknowledged "

func needJava(tb testing.TB) {
	tb.Helper()
	if _, err := kafkaJava(tb); err != nil {
		lack(tb, RequireServices, "no Java client to produce with: %v", err)
	}
	// A program in one file is run from its source, for which a mere runtime environment lacks the compiler.
	if _, err := exec.LookPath("javac"); err != nil {
		lack(tb, RequireServices, "no Java compiler (Debian's default-jdk-headless): %v", err)
	}
}

// sendJava sends with the Java client of the jars that deploy/local/jars names, in a process of its own.
func sendJava(ctx context.Context, tb testing.TB, brokers, topic string, records []ProducerRecord) error {
	words, err := kafkaJava(tb)
	if err != nil {
		return err
	}
	program := filepath.Join(tb.TempDir(), "JavaProducer.java")
	if err := os.WriteFile(program, javaProducer, 0o600); err != nil {
		return err
	}
	args := append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlapwing.log.level=WARN"}, words[1:]...)
	args = append(args, program, brokers, topic, strconv.FormatInt(ackTimeout.Milliseconds(), 10))
	cmd := exec.CommandContext(ctx, words[0], args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(javaInput(records)), &stdout, &stderr
	runErr := errors.Join(cmd.Run(), ctx.Err())
	// Of the lines before, which are the client's log, nothing is asked.
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	acknowledged, isCount := strings.CutPrefix(lines[len(lines)-1], javaAcknowledged)
	if runErr != nil || !isCount || acknowledged != strconv.Itoa(len(records)) {
		const outputBytesMax = 4 << 10
		said := stderr.String() + stdout.String()
		return fmt.Errorf("java: %w", errors.Join(runErr, errors.New(said[:min(len(said), outputBytesMax)])))
	}
	return nil
}

// javaInput is records as the program reads them: the length of the key, the key, the length of the value, the value.
// Lengths are 32-bit big-endian; -1: none.
func javaInput(records []ProducerRecord) []byte {
	var b []byte
	field := func(f []byte) {
		length := int32(len(f))
		if f == nil {
			length = -1
		}
		b = binary.BigEndian.AppendUint32(b, uint32(length))
		b = append(b, f...)
	}
	for _, r := range records {
		field(r.Key)
		field(r.Value)
	}
	return b
}
