package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
)

type evalCmd struct {
	File   string `arg:"" optional:"" help:"Events as JSON lines; left out or -: standard input."`
	Rules  string `placeholder:"FILE" help:"The rules, instead of those that the configuration names or the built-in ones."`
	Detail string `enum:"minimal,full" default:"minimal" help:"How much a result tells: ${enum}."`
	Config string `placeholder:"FILE" help:"A configuration, for its events and rules; left out: the defaults, without the environment."`
}

// Help is what --help prints beside the flags.
func (c *evalCmd) Help() string {
	return `One line comes out for each line that goes in, in the same order: the result, or
{"error":{"reason":"...","detail":"..."}} for a line that is no event. Such lines are results too: the exit code is 1 only
where a file cannot be read or written. The state of every user in the input is kept in memory.`
}

// errRecordTime is returned for a configuration that eval cannot follow.
var errRecordTime = errors.New("events.time_from is record, but lines have no record timestamp; set it to event")

// Run judges the lines of a file or of the standard input.
func (c *evalCmd) Run(ctx context.Context, con *console) error {
	e, err := c.evaluator(con)
	if err != nil {
		return err
	}
	if c.File == "" || c.File == "-" {
		return e.run(ctx, con.stdin, con.stdout)
	}
	f, err := os.Open(c.File)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer f.Close()
	e.source.Topic = filepath.Base(c.File)
	return e.run(ctx, f, con.stdout)
}

func (c *evalCmd) evaluator(con *console) (*evaluator, error) {
	config := NewConfig()
	if c.Config != "" {
		var err error
		if config, err = LoadConfig(c.Config, con.environ); err != nil {
			return nil, err
		}
	}
	if c.Rules != "" {
		config.Rules = File(c.Rules)
	}
	set, err := config.RuleSet()
	if err != nil {
		return nil, err
	}
	options, err := config.DecoderOptions()
	if err != nil {
		return nil, err
	}
	if options.TimeFromRecord {
		return nil, errRecordTime
	}
	options.MaxFuture = 0 // It is a bound relative to the record's timestamp, which a line does not have.
	return &evaluator{
		decoder:      contract.NewDecoder(options),
		set:          set,
		encoder:      contract.NewResultEncoder(set.Types(), detailOf(c.Detail)),
		users:        map[int64]*rules.UserState{},
		lineBytesMax: options.BytesMax,
		source:       contract.Source{Topic: "eval"},
	}, nil
}

// evaluator judges lines as an engine judges the records of one partition.
type evaluator struct {
	decoder      *contract.Decoder
	set          *rules.Set
	encoder      *contract.ResultEncoder
	users        map[int64]*rules.UserState
	lineBytesMax int
	source       contract.Source // of the next line: its offset is the line's number, from 0

	event   contract.Event
	verdict rules.Verdict
}

// run reads lines until the end of the input or of the context and writes a line for each. What was written is flushed
// whenever no further input has arrived yet, so that the program can be talked to through pipes.
func (e *evaluator) run(ctx context.Context, r io.Reader, w io.Writer) error {
	const bufferBytes = 64 << 10
	in := lineReader{reader: bufio.NewReaderSize(r, bufferBytes), bytesMax: e.lineBytesMax}
	out := bufio.NewWriterSize(w, bufferBytes)
	for {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, out.Flush())
		}
		line, length, err := in.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return errors.Join(fmt.Errorf("read events: line %d: %w", e.source.Offset+1, err), out.Flush())
		}
		answer := append(e.judge(out.AvailableBuffer(), line, length), '\n')
		if _, err := out.Write(answer); err != nil {
			return fmt.Errorf("write results: %w", err)
		}
		if in.reader.Buffered() > 0 {
			continue
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write results: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// judge appends the answer to a line of this length, of which line may be the beginning only.
func (e *evaluator) judge(dst, line []byte, length int) []byte {
	source := e.source
	e.source.Offset++
	if length > e.lineBytesMax {
		return appendRefusal(dst, &contract.Refusal{
			Reason: contract.ReasonTooLarge,
			Detail: fmt.Sprintf("%d bytes, at most %d are allowed", length, e.lineBytesMax),
		})
	}
	const noRecordTime = -1
	if refusal := e.decoder.Decode(line, noRecordTime, &e.event); refusal != nil {
		return appendRefusal(dst, refusal)
	}
	user := e.users[e.event.UserID]
	if user == nil {
		user = new(rules.UserState)
		e.users[e.event.UserID] = user
	}
	e.set.Judge(user, &e.event.Event, &e.verdict)
	return e.encoder.Append(dst, &e.event, source, &e.verdict)
}

// appendRefusal appends {"error":{"reason":"...","detail":"..."}}.
func appendRefusal(dst []byte, r *contract.Refusal) []byte {
	var answer struct {
		Error struct {
			Reason contract.Reason `json:"reason"`
			Detail string          `json:"detail"`
		} `json:"error"`
	}
	answer.Error.Reason, answer.Error.Detail = r.Reason, r.Detail
	text, err := json.Marshal(answer)
	if err != nil {
		panic(fmt.Sprintf("eval: a struct of two strings: %v", err))
	}
	return append(dst, text...)
}

// lineReader reads lines, keeping at most bytesMax bytes of each.
type lineReader struct {
	reader   *bufio.Reader
	bytesMax int
	line     []byte
}

// next returns the next line without its end ("\n" or "\r\n"), and its length; a longer line than bytesMax is cut. The
// line is valid until the next call. A last line need not have an end. The error is io.EOF after the last line.
func (l *lineReader) next() (line []byte, length int, err error) {
	l.line = l.line[:0]
	var last byte // before the line's end
	for {
		part, err := l.reader.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return nil, 0, err
		}
		if err == io.EOF && length+len(part) == 0 {
			return nil, 0, io.EOF
		}
		text := bytes.TrimSuffix(part, []byte("\n"))
		if len(text) > 0 {
			last = text[len(text)-1]
		}
		length += len(text)
		// One byte more than the limit is kept, for a "\r" that does not count.
		l.line = append(l.line, text[:min(len(text), l.bytesMax+1-len(l.line))]...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if last == '\r' {
			length--
		}
		return l.line[:min(length, len(l.line))], length, nil
	}
}
