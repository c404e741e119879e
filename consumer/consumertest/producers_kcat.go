package consumertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// kcatAcknowledged begins the line that kcat -v -v writes for each record that the broker took.
const kcatAcknowledged = "% Message delivered to partition "

func needKcat(tb testing.TB) {
	tb.Helper()
	if _, err := exec.LookPath("kcat"); err != nil {
		lack(tb, RequireServices, "no kcat to produce with: %v", err)
	}
}

// sendKcat sends with a kcat process, which is librdkafka's defaults but for idempotence. Further arguments are kcat's.
func sendKcat(args ...string) sendFunc {
	return func(ctx context.Context, _ testing.TB, brokers, topic string, records []ProducerRecord) error {
		input, err := newKcatInput(records)
		if err != nil {
			return err
		}
		command := append([]string{
			"-P", "-v", "-v", "-b", brokers, "-t", topic, "-Z", "-K", input.keyEnd, "-D", input.recordEnd, "-X", "enable.idempotence=true",
			"-X", "message.timeout.ms=" + strconv.FormatInt(ackTimeout.Milliseconds(), 10),
		}, args...)
		cmd := exec.CommandContext(ctx, "kcat", command...)
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stderr = bytes.NewReader(input.text), &stderr
		runErr := errors.Join(cmd.Run(), ctx.Err())
		// The exit code alone is not trusted: each record's acknowledgement is counted.
		acknowledged, rest := 0, make([]string, 0, 8)
		for line := range strings.Lines(stderr.String()) {
			if strings.HasPrefix(line, kcatAcknowledged) {
				acknowledged++
			} else if len(rest) < cap(rest) {
				rest = append(rest, strings.TrimSpace(line))
			}
		}
		if runErr != nil || acknowledged != len(records) {
			return fmt.Errorf("%d acknowledged: kcat: %w", acknowledged, errors.Join(runErr, errors.New(strings.Join(rest, "; "))))
		}
		return nil
	}
}

// kcatInput is records as kcat reads them: key, keyEnd, value, recordEnd; a record without key has no keyEnd.
type kcatInput struct {
	keyEnd, recordEnd string
	text              []byte
}

// newKcatInput finds ends that kcat cannot mistake in the records.
func newKcatInput(records []ProducerRecord) (kcatInput, error) {
	for i, r := range records {
		switch {
		case r.Key != nil && len(r.Key) == 0, r.Value != nil && len(r.Value) == 0:
			return kcatInput{}, fmt.Errorf("record %d has an empty key or value, which kcat takes for none", i)
		case r.Key == nil && r.Value == nil:
			return kcatInput{}, fmt.Errorf("record %d has neither key nor value, which kcat skips", i)
		}
	}
	const tries = 16
	for try := range tries {
		input := kcatInput{keyEnd: fmt.Sprintf("<key%d>", try), recordEnd: fmt.Sprintf("<end%d>", try)}
		if input.write(records) {
			return input, nil
		}
	}
	return kcatInput{}, fmt.Errorf("the records hold each of the %d delimiters that were tried", tries)
}

// write writes the text and reports whether the first keyEnd and recordEnd in each record are those that were written.
func (in *kcatInput) write(records []ProducerRecord) bool {
	in.text = in.text[:0]
	keyEnd, recordEnd := []byte(in.keyEnd), []byte(in.recordEnd)
	for _, r := range records {
		from, keyed := len(in.text), -1
		if r.Key != nil {
			in.text = append(in.text, r.Key...)
			in.text = append(in.text, keyEnd...)
			keyed = len(r.Key)
		}
		in.text = append(in.text, r.Value...)
		length := len(in.text) - from
		in.text = append(in.text, recordEnd...)
		if bytes.Index(in.text[from:], recordEnd) != length || bytes.Index(in.text[from:from+length], keyEnd) != keyed {
			return false
		}
	}
	return true
}
