package gateway

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"golang.org/x/time/rate"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// handler answers the requests. It is safe for concurrent use.
type handler struct {
	options  *Options
	metrics  *metrics
	status   *status
	waiters  *waiters
	submit   func(*message) error // a writer's
	inFlight chan struct{}        // one element for each event that is handled
	rate     *rate.Limiter        // of events
	decoders sync.Pool            // of *contract.Decoder
	hurry    <-chan struct{}      // closed: answer at once with what is known
}

func newHandler(o *Options, m *metrics, s *status, w *waiters, submit func(*message) error, hurry <-chan struct{}) *handler {
	h := &handler{
		options: o, metrics: m, status: s, waiters: w, submit: submit, hurry: hurry,
		inFlight: make(chan struct{}, o.InFlightMax),
		rate:     rate.NewLimiter(rate.Inf, 0),
	}
	if o.RateMax > 0 {
		h.rate = rate.NewLimiter(rate.Limit(o.RateMax), o.RateMax)
	}
	h.decoders.New = func() any { return contract.NewDecoder(o.Decoder) }
	return h
}

// ServeHTTP answers POST /event, GET /healthz (the process is alive) and GET /readyz (requests are
// taken and no part fails).
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/event":
		began := time.Now()
		t := h.trace(r, began)
		a := h.event(w, r, t)
		h.metrics.answered(a, time.Since(began))
		h.traced(t, a)
		if a.status == statusClientGone {
			panic(http.ErrAbortHandler) // or net/http would answer 200, which half a client may still read
		}
		a.write(w)
	case "/healthz":
		h.probe(w, r, nil)
	case "/readyz":
		h.probe(w, r, h.status.err())
	default:
		a := refusal(http.StatusNotFound, reasonNotFound, "there are POST /event, GET /healthz and GET /readyz")
		h.metrics.answered(a, 0)
		a.write(w)
	}
}

func (h *handler) probe(w http.ResponseWriter, r *http.Request, problem error) {
	a := answer{status: http.StatusOK, result: []byte(`{"status":"ok"}`)}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		a = refusal(http.StatusMethodNotAllowed, reasonMethod, "the method must be GET")
		a.allow = "GET, HEAD"
	case problem != nil:
		a = refusal(http.StatusServiceUnavailable, reasonNotReady, problem.Error())
	}
	a.write(w)
}

// event handles POST /event up to its answer.
func (h *handler) event(w http.ResponseWriter, r *http.Request, t *traced) answer {
	if a, ok := checkHeader(r); !ok {
		return a
	}
	select {
	case h.inFlight <- struct{}{}:
	default:
		return unavailable(reasonBusy, writtenNo, fmt.Sprintf("%d requests are in flight, which is the most", h.options.InFlightMax))
	}
	h.metrics.inFlight.Inc()
	defer func() {
		h.metrics.inFlight.Dec()
		<-h.inFlight
	}()
	if !h.rate.Allow() {
		a := refusal(http.StatusTooManyRequests, reasonRate, fmt.Sprintf("%d events a second are taken, which is the most", h.options.RateMax))
		a.written = writtenNo
		return a
	}
	body, a, ok := h.body(w, r)
	if !ok {
		return a
	}
	// The record gets this time, so that the engine holds the event's against the same.
	now := time.Now()
	userID, refused := h.decode(body, now)
	if refused != nil {
		status := http.StatusBadRequest
		if refused.Reason == contract.ReasonTooLarge {
			status = http.StatusRequestEntityTooLarge
		}
		return refusal(status, refused.Reason, refused.Detail)
	}
	partitions, err := h.status.admit()
	if err != nil {
		return unavailable(reasonNotReady, writtenNo, err.Error())
	}
	waiter := h.waiters.add()
	defer h.waiters.remove(waiter)
	key := contract.AppendUserKey(nil, userID)
	m := newMessage(h.options.Partitioner.Partition(key, partitions), now, key, body, recordHeaders(waiter.id, r, t))
	t.send(m)
	if err := h.submit(m); err != nil {
		return writeFailed(err)
	}
	return h.await(r, m, waiter, t)
}

// checkHeader refuses what is not a JSON request by its header; ok otherwise.
func checkHeader(r *http.Request) (a answer, ok bool) {
	if r.Method != http.MethodPost {
		a = refusal(http.StatusMethodNotAllowed, reasonMethod, "the method must be POST")
		a.allow = http.MethodPost
		return a, false
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return refusal(http.StatusUnsupportedMediaType, reasonMediaType, "Content-Type must be application/json"), false
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return refusal(http.StatusUnsupportedMediaType, reasonMediaType, "the body must come without Content-Encoding"), false
	}
	return answer{}, true
}

// body reads the body, which is new memory; not ok: the answer says why there is none.
func (h *handler) body(w http.ResponseWriter, r *http.Request) (body []byte, a answer, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.options.BodyBytesMax))
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return body, answer{}, true
	case errors.As(err, &tooLarge):
		return nil, refusal(http.StatusRequestEntityTooLarge, contract.ReasonTooLarge,
			fmt.Sprintf("the body has more than %d bytes", h.options.BodyBytesMax)), false
	case errors.Is(err, os.ErrDeadlineExceeded): // before the context, which net/http ends then
		return nil, refusal(http.StatusRequestTimeout, reasonSlow,
			fmt.Sprintf("the request was not received within %v", h.options.HTTP.ReadTimeout)), false
	case r.Context().Err() != nil:
		return nil, clientGone(), false
	default:
		return nil, refusal(http.StatusBadRequest, reasonBody, "the body cannot be read to its end"), false
	}
}

func (h *handler) decode(body []byte, at time.Time) (userID int64, r *contract.Refusal) {
	decoder := h.decoders.Get().(*contract.Decoder)
	defer h.decoders.Put(decoder)
	var event contract.Event
	r = decoder.Decode(body, at.UnixMilli(), &event)
	return event.UserID, r
}

// recordHeaders are the record's headers: the request's id, and its trace: as it goes on from here where requests are traced,
// otherwise as it came, if it is well-formed.
func recordHeaders(id []byte, r *http.Request, t *traced) []protocol.Header {
	headers := []protocol.Header{{Key: contract.HeaderRequestID, Value: id}}
	if t != nil {
		return append(headers, protocol.Header{Key: contract.HeaderTraceparent, Value: t.traceparent()})
	}
	if trace := r.Header.Get(contract.HeaderTraceparent); isTraceparent(trace) {
		headers = append(headers, protocol.Header{Key: contract.HeaderTraceparent, Value: []byte(trace)})
	}
	return headers
}

// isTraceparent reports whether a text is a traceparent of version 00 (W3C Trace Context, 3.2.2):
// version, trace id, parent id and flags, in lower-case hex. Others are dropped, as the standard asks.
func isTraceparent(text string) bool {
	const form = "00-................................-................-.."
	if len(text) != len(form) {
		return false
	}
	for i := range len(form) {
		if c := text[i]; form[i] == '.' {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		} else if c != form[i] {
			return false
		}
	}
	return true
}

// await waits for the write and for the result. The result counts as soon as it is there, even where
// the acknowledgement is late or was lost.
func (h *handler) await(r *http.Request, m *message, w waiter, t *traced) answer {
	timer := time.NewTimer(h.options.WriteTimeout)
	defer timer.Stop()
	written := m.done // nil once the event is acknowledged
	turn := timer.C   // ends the wait for its turn, then for the result
	source := ""
	for {
		select {
		case result := <-w.result:
			return resultAnswer(result, source)
		case o := <-written:
			if o.err != nil {
				return writeFailed(o.err)
			}
			t.written(o.offset)
			source = string(contract.AppendSource(nil, contract.Source{
				Topic: h.options.Input, Partition: m.partition, Offset: o.offset,
			}))
			written, turn = nil, timer.C
			timer.Reset(h.options.ResultTimeout)
		case <-turn:
			switch {
			case written == nil:
				return noResult(source, fmt.Sprintf("no result within %v", h.options.ResultTimeout))
			case m.withdraw():
				return unavailable(reasonNotWritten, writtenNo, fmt.Sprintf("the event did not get its turn within %v", h.options.WriteTimeout))
			}
			turn = nil // it is being sent: that ends by itself, and then more is known
		case <-r.Context().Done():
			m.withdraw()
			return clientGone()
		case <-h.hurry:
			switch {
			case written == nil:
				return noResult(source, "no result yet, and the gateway is stopping")
			case m.withdraw():
				return unavailable(reasonNotWritten, writtenNo, "the gateway is stopping")
			}
			return unavailable(reasonUnknownIfWritten, writtenUnknown, "the gateway is stopping, and the event was sent but not acknowledged")
		}
	}
}

func resultAnswer(result []byte, source string) answer {
	minimal, err := contract.MinimalResult(result)
	if err != nil {
		return answer{
			status: http.StatusBadGateway, reason: reasonBadResult, written: writtenYes, source: source,
			detail: "the event is in the topic, but what was published for it is not a result",
		}
	}
	return answer{status: http.StatusOK, reason: reasonOK, result: minimal}
}

func noResult(source, why string) answer {
	return answer{
		status: http.StatusGatewayTimeout, reason: reasonNoResult, written: writtenYes, source: source,
		detail: why + "; the event is in the topic all the same, do not send it again",
	}
}

// writeFailed answers for a *writeError.
func writeFailed(err error) answer {
	var failure *writeError
	switch certain := errors.As(err, &failure) && failure.certain; {
	case certain && wire.Classify(err) == wire.TooLarge:
		a := refusal(http.StatusRequestEntityTooLarge, contract.ReasonTooLarge, "the topic takes no record of this size")
		a.written = writtenNo
		return a
	case certain:
		return unavailable(reasonNotWritten, writtenNo, "the event is not in the topic: "+failure.err.Error())
	default:
		return unavailable(reasonUnknownIfWritten, writtenUnknown, "the event may or may not be in the topic: "+err.Error())
	}
}

func clientGone() answer { return answer{status: statusClientGone, reason: reasonClientGone} }
