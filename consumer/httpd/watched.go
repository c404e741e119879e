package httpd

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
)

// fileBytesMax bounds each file that is read.
const fileBytesMax = 1 << 20

// watched is a value that is made of files, and made anew when they change. The contents decide, not their times: two
// changes within a tick of the clock are two. Load is safe for concurrent use, refresh is for one goroutine.
type watched[T any] struct {
	atomic.Pointer[T]
	files []string
	parse func(texts [][]byte) (*T, error)

	sum     [sha256.Size]byte // of the contents that were parsed last: they themselves may be secret
	err     error             // of parsing them
	problem string            // that refresh met last
}

// watch reads the files for the first time.
func watch[T any](parse func(texts [][]byte) (*T, error), files ...string) (*watched[T], error) {
	w := &watched[T]{files: files, parse: parse}
	_, err := w.read()
	return w, err
}

// refresh looks at the files. If they changed, what is loaded from now on is the new value; if none can be made of them, it
// stays the former: that is stale, and the log says why, once for each reason.
func (w *watched[T]) refresh(log *slog.Logger, what string) (stale bool) {
	changed, err := w.read()
	if changed {
		log.Info("changed files are used from now on", "files", what)
	}
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != w.problem && err != nil {
		log.Error("changed files cannot be used, what they had before is", "files", what, "err", err)
	}
	w.problem = problem
	return err != nil
}

// read makes the value anew unless the files are as they were.
func (w *watched[T]) read() (changed bool, err error) {
	texts, all := make([][]byte, len(w.files)), sha256.New()
	for i, file := range w.files {
		if texts[i], err = readFile(file); err != nil {
			return false, err
		}
		sum := sha256.Sum256(texts[i])
		all.Write(sum[:])
	}
	if sum := [sha256.Size]byte(all.Sum(nil)); sum != w.sum {
		w.sum = sum
		var value *T
		if value, w.err = w.parse(texts); w.err == nil {
			w.Store(value)
			return true, nil
		}
	}
	return false, w.err
}

// readFile reads a file of at most fileBytesMax bytes. Its errors name it.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err == nil && len(text) > fileBytesMax {
		err = fmt.Errorf("%s: the file is too large: at most %d bytes are allowed", name, fileBytesMax)
	}
	return text, err
}
