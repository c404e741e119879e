package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer/contract"
)

// stub is a handler before a topic that a test plays.
type stub struct {
	*handler
	hurry chan struct{}
}

// newStub returns a ready handler; write plays topic and engine, in a goroutine for each event.
func newStub(t testing.TB, adjust func(*Options), write func(h *handler, m *message)) *stub {
	t.Helper()
	o := DefaultOptions()
	if adjust != nil {
		adjust(&o)
	}
	m, err := newMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newStatus()
	s.setInputPartitions(3)
	s.clear(topicsSubject)
	hurry := make(chan struct{})
	out := &stub{hurry: hurry}
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	out.handler = newHandler(&o, m, s, newWaiters(), func(m *message) error {
		group.Go(func() { write(out.handler, m) })
		return nil
	}, hurry)
	return out
}

// take plays a topic that acknowledges at offset 7, and an engine that judges at once.
func take(h *handler, m *message) {
	if len(claim([]*message{m})) == 0 {
		return
	}
	m.finish(outcome{offset: 7})
	h.waiters.deliver(m.headers[0].Value, []byte(`{"alert":false,"alert_codes":[],"user_id":`+string(m.key)+`,"event":{}}`))
}

func (s *stub) do(r *http.Request) (w *httptest.ResponseRecorder) {
	w = httptest.NewRecorder()
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { // which net/http takes
			panic(p)
		}
	}()
	s.ServeHTTP(w, r)
	return w
}

func newPost(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/event", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func with(r *http.Request, name, value string) *http.Request {
	r.Header.Set(name, value)
	return r
}

var good = deposit(1, "42.00", 10)

func TestHandlerAnswers(t *testing.T) {
	limit := DefaultOptions().BodyBytesMax
	pad := func(size int64) string { return good + strings.Repeat(" ", int(size)-len(good)) }
	for name, test := range map[string]struct {
		request *http.Request
		status  int
		reason  string
		header  string // name: value
	}{
		"good":                {newPost(good), 200, "", "Content-Type: application/json"},
		"charset":             {with(newPost(good), "Content-Type", "application/json; charset=utf-8"), 200, "", ""},
		"media type in caps":  {with(newPost(good), "Content-Type", "Application/JSON"), 200, "", ""},
		"identity":            {with(newPost(good), "Content-Encoding", "identity"), 200, "", ""},
		"at the limit":        {newPost(pad(limit)), 200, "", ""},
		"above the limit":     {newPost(pad(limit + 1)), 413, "too_large", ""},
		"form":                {with(newPost(good), "Content-Type", "application/x-www-form-urlencoded"), 415, "unsupported_media_type", ""},
		"no content type":     {with(newPost(good), "Content-Type", ""), 415, "unsupported_media_type", ""},
		"broken content type": {with(newPost(good), "Content-Type", "application/json;;="), 415, "unsupported_media_type", ""},
		"compressed":          {with(newPost(good), "Content-Encoding", "gzip"), 415, "unsupported_media_type", ""},
		"no event":            {newPost(`{"type":"deposit"}`), 400, "missing_member", ""},
		"empty":               {newPost(""), 400, "not_json", ""},
		"broken body":         {brokenPost(), 400, "unreadable_body", ""},
		"GET":                 {httptest.NewRequest(http.MethodGet, "/event", nil), 405, "method_not_allowed", "Allow: POST"},
		"PUT":                 {httptest.NewRequest(http.MethodPut, "/event", nil), 405, "method_not_allowed", "Allow: POST"},
		"another path":        {httptest.NewRequest(http.MethodPost, "/events", nil), 404, "not_found", "Content-Type: application/json"},
		"root":                {httptest.NewRequest(http.MethodGet, "/", nil), 404, "not_found", ""},
		"below":               {httptest.NewRequest(http.MethodPost, "/event/1", nil), 404, "not_found", ""},
		"health":              {httptest.NewRequest(http.MethodGet, "/healthz", nil), 200, "", ""},
		"health by POST":      {httptest.NewRequest(http.MethodPost, "/healthz", nil), 405, "method_not_allowed", "Allow: GET, HEAD"},
		"readiness":           {httptest.NewRequest(http.MethodGet, "/readyz", nil), 200, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStub(t, nil, take).do(test.request)
			if w.Code != test.status {
				t.Errorf("%d %s, want %d", w.Code, w.Body, test.status)
			}
			if header, value, _ := strings.Cut(test.header, ": "); w.Header().Get(header) != value {
				t.Errorf("header %v, want %s", w.Header(), test.header)
			}
			if test.status == 200 {
				return
			}
			var body struct {
				Error struct{ Reason, Detail string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if body.Error.Reason != test.reason || body.Error.Detail == "" {
				t.Errorf("%s, want reason %s with a detail", w.Body, test.reason)
			}
		})
	}
}

// brokenPost is a request whose body ends before it should.
func brokenPost() *http.Request {
	r := newPost("")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(good[:10]), errorReader{}))
	return r
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestHandlerAnswersExactly(t *testing.T) {
	w := newStub(t, nil, take).do(newPost(good))
	if got, want := w.Body.String(), `{"alert":false,"alert_codes":[],"user_id":1}`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestHandlerStripsFrames: the gateway takes what the engine takes, and writes it with its frame.
func TestHandlerStripsFrames(t *testing.T) {
	framed := "\x00\x00\x00\x00\x07" + good
	for strip, want := range map[bool]int{true: 200, false: 400} {
		w := newStub(t, func(o *Options) { o.Decoder.StripFrame = strip }, func(h *handler, m *message) {
			if string(m.value) != framed || string(m.key) != "1" {
				t.Errorf("written: key %q, value %q", m.key, m.value)
			}
			take(h, m)
		}).do(newPost(framed))
		if w.Code != want || !strip && !strings.Contains(w.Body.String(), `"reason":"confluent_framed"`) {
			t.Errorf("strip %t: %d %s, want %d", strip, w.Code, w.Body, want)
		}
	}
}

// What a failed write is answered with.
func TestHandlerWriteFails(t *testing.T) {
	for name, test := range map[string]struct {
		failure *writeError
		want    answer
	}{
		"certain":   {&writeError{certain: true, err: errTest}, answer{status: 503, reason: "not_written", written: "no"}},
		"uncertain": {&writeError{err: errTest}, answer{status: 503, reason: "unknown_if_written", written: "unknown"}},
		"too large": {&writeError{certain: true, err: kafka.MessageSizeTooLarge}, answer{status: 413, reason: "too_large", written: "no"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t, nil, func(_ *handler, m *message) {
				claim([]*message{m})
				fail([]*message{m}, test.failure)
			})
			w := s.do(newPost(good))
			checkError(t, w, test.want)
			if retry := w.Header().Get("Retry-After"); (retry != "") != (test.want.status == 503) {
				t.Errorf("Retry-After %q", retry)
			}
		})
	}
}

func checkError(t *testing.T, w *httptest.ResponseRecorder, want answer) {
	t.Helper()
	var got errorBody
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if w.Code != want.status || got.Error.Reason != want.reason || got.Error.Written != want.written || got.Error.Source != want.source {
		t.Errorf("%d %s, want %+v", w.Code, w.Body, want)
	}
}

// Time passes at each point of an event's way.
func TestHandlerTimeouts(t *testing.T) {
	short := func(o *Options) { o.WriteTimeout, o.ResultTimeout = 20*time.Millisecond, 20*time.Millisecond }
	t.Run("waiting for its turn", func(t *testing.T) {
		w := newStub(t, short, func(*handler, *message) {}).do(newPost(good))
		checkError(t, w, answer{status: 503, reason: "not_written", written: "no"})
	})
	t.Run("waiting for the result", func(t *testing.T) {
		w := newStub(t, short, func(_ *handler, m *message) {
			claim([]*message{m})
			m.finish(outcome{offset: 7})
		}).do(newPost(good))
		partition := contract.Murmur2.UserPartition(1, 3)
		checkError(t, w, answer{status: 504, reason: "no_result", written: "yes", source: fmt.Sprintf("events/%d/7", partition)})
	})
	t.Run("the result before the acknowledgement", func(t *testing.T) {
		w := newStub(t, short, func(h *handler, m *message) {
			claim([]*message{m}) // and never finished
			h.waiters.deliver(m.headers[0].Value, []byte(`{"alert":false,"alert_codes":[],"user_id":1}`))
		}).do(newPost(good))
		if w.Code != 200 {
			t.Errorf("%d %s, want 200", w.Code, w.Body)
		}
	})
}

func TestHandlerBadResult(t *testing.T) {
	w := newStub(t, nil, func(h *handler, m *message) {
		claim([]*message{m})
		h.waiters.deliver(m.headers[0].Value, []byte(`no result`))
	}).do(newPost(good))
	checkError(t, w, answer{status: 502, reason: "bad_result", written: "yes"})
}

// Too many at a time: the next is told to come again, and its body is not even read.
func TestHandlerInFlightMax(t *testing.T) {
	hold := make(chan struct{})
	s := newStub(t, func(o *Options) { o.InFlightMax = 2 }, func(h *handler, m *message) {
		<-hold
		take(h, m)
	})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if w := s.do(newPost(good)); w.Code != 200 {
				t.Errorf("%d %s, want 200", w.Code, w.Body)
			}
		})
	}
	eventually(t, "both are in flight", func() error {
		if n := len(s.inFlight); n != 2 {
			return fmt.Errorf("%d in flight", n)
		}
		return nil
	})
	w := s.do(newPost(good))
	checkError(t, w, answer{status: 503, reason: "busy", written: "no"})
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("header %v, want Retry-After", w.Header())
	}
	close(hold)
	group.Wait()
	if w := s.do(newPost(good)); w.Code != 200 {
		t.Errorf("afterwards: %d %s, want 200", w.Code, w.Body)
	}
}

func TestHandlerStopping(t *testing.T) {
	for name, test := range map[string]struct {
		write func(*handler, *message)
		want  answer
	}{
		"queued": {func(*handler, *message) {}, answer{status: 503, reason: "not_written", written: "no"}},
		"sent":   {func(_ *handler, m *message) { claim([]*message{m}) }, answer{status: 503, reason: "unknown_if_written", written: "unknown"}},
		"written": {func(_ *handler, m *message) { claim([]*message{m}); m.finish(outcome{offset: 7}) },
			answer{status: 504, reason: "no_result", written: "yes", source: fmt.Sprintf("events/%d/7", contract.Murmur2.UserPartition(1, 3))}},
	} {
		t.Run(name, func(t *testing.T) {
			messages := make(chan *message, 1)
			s := newStub(t, nil, func(h *handler, m *message) {
				test.write(h, m)
				messages <- m
			})
			answered := make(chan *httptest.ResponseRecorder, 1)
			var group sync.WaitGroup
			defer group.Wait()
			group.Go(func() { answered <- s.do(newPost(good)) })
			m := <-messages
			eventually(t, "the request knows its outcome", func() error {
				if len(m.done) > 0 {
					return errors.New("not taken yet")
				}
				return nil
			})
			close(s.hurry)
			checkError(t, <-answered, test.want)
		})
	}
}

// A client that leaves takes its event back if it was not sent.
func TestHandlerClientGone(t *testing.T) {
	messages := make(chan *message, 1)
	s := newStub(t, nil, func(_ *handler, m *message) { messages <- m })
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { s.do(newPost(good).WithContext(ctx)) })
	m := <-messages
	cancel()
	group.Wait()
	if got := messageState(m.state.Load()); got != stateWithdrawn {
		t.Errorf("the message is %v, want withdrawn", got)
	}
	if n := value(t, s.metrics.requests.WithLabelValues("499", "client_gone")); n != 1 {
		t.Errorf("%v requests are counted as left, want 1", n)
	}
	if len(s.waiters.results) != 0 {
		t.Error("its waiter is left behind")
	}
}

func TestTraceparent(t *testing.T) {
	const valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for text, want := range map[string]bool{
		valid: true, "": false, valid + "x": false, valid[:54]: false, strings.ToUpper(valid): false,
		strings.Replace(valid, "4", "g", 1): false, strings.Replace(valid, "-", "_", 1): false, "ff" + valid[2:]: false,
	} {
		if got := isTraceparent(text); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}

// FuzzHandler sends any body: only the known answers, and what is written is an event, byte for byte.
func FuzzHandler(f *testing.F) {
	f.Add([]byte(good), "application/json")
	f.Add([]byte(`{"type":"withdraw","amount":"0.01","user_id":9223372036854775807,"time":0}`), "application/json; charset=utf-8")
	f.Add([]byte(`{"type":"deposit","amount":"1","user_id":1,"time":1,"user_id":2}`), "application/json")
	f.Add([]byte("\x00\x00\x00\x00\x01{}"), "application/json")
	f.Add([]byte("\xff\xfe"), "text/plain")
	f.Add(bytes.Repeat([]byte("["), 1000), "application/json")
	f.Add(bytes.Repeat([]byte(" "), 300), "application/json")
	var (
		mu      sync.Mutex
		written []byte
	)
	s := newStub(f, func(o *Options) { o.BodyBytesMax = 256 }, func(h *handler, m *message) {
		mu.Lock()
		written = m.value
		mu.Unlock()
		take(h, m)
	})
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		mu.Lock()
		written = nil
		mu.Unlock()
		r := httptest.NewRequest(http.MethodPost, "/event", bytes.NewReader(body))
		r.Header["Content-Type"] = []string{contentType}
		w := s.do(r)
		if !slices.Contains([]int{200, 400, 413, 415}, w.Code) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("not JSON: %s", w.Body)
		}
		mu.Lock()
		defer mu.Unlock()
		if (w.Code == 200) != (written != nil) || (written != nil && !bytes.Equal(written, body)) {
			t.Fatalf("%d, written %q of %q", w.Code, written, body)
		}
		if w.Code == 413 && len(body) <= 256 {
			t.Fatalf("413 of %d bytes", len(body))
		}
	})
}

func BenchmarkHandler(b *testing.B) {
	s := newStub(b, nil, take)
	b.ReportAllocs()
	for b.Loop() {
		if w := s.do(newPost(good)); w.Code != 200 {
			b.Fatal(w.Code, w.Body)
		}
	}
}
