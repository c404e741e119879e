package otlp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/trace"
)

// contentType is that of OTLP's requests and answers.
const contentType = "application/x-protobuf"

// answerBytesMax bounds what is read of an answer.
const answerBytesMax = 64 << 10

// Pauses between the tries of a request; the collector may ask for a longer one.
const (
	retryFirst = 100 * time.Millisecond
	retryMax   = 5 * time.Second
)

// client posts batches of spans. One goroutine.
type client struct {
	options  *Options
	http     http.Client
	resource *resource.Resource
}

// rejected is what the collector did not take of a request that it took.
type rejected struct {
	spans   int64 // as it says: any number
	message string
}

func newClient(o *Options) (*client, error) {
	if u, err := url.Parse(o.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("otlp: Endpoint %q is no URL like http://127.0.0.1:4318/v1/traces", o.Endpoint)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = o.TLS
	return &client{
		options:  o,
		http:     http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		resource: &resource.Resource{Attributes: keyValues(o.Resource)},
	}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// laterError is an answer that says: later. The pause is what the collector asks for, or 0.
type laterError struct {
	err   error
	pause time.Duration
}

func (e *laterError) Error() string { return e.err.Error() }
func (e *laterError) Unwrap() error { return e.err }

// upload posts spans until they are taken, refused for good, or RetryTimeout is over. Once closing has ended nothing is tried
// again.
func (c *client) upload(ctx, closing context.Context, spans []trace.Span) (rejected, error) {
	body, err := proto.Marshal(request(c.resource, spans))
	if err != nil {
		return rejected{}, fmt.Errorf("encode the spans: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.RetryTimeout)
	defer cancel()
	pauses, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(closing, stop)()
	delay := backoff.New(retryFirst, retryMax)
	for {
		r, err := c.post(ctx, body)
		later := new(laterError)
		if err == nil || !errors.As(err, &later) {
			return r, err
		}
		if sleep(pauses, later.pause) != nil || delay.Wait(pauses) != nil {
			return r, err
		}
	}
}

// sleep waits; an error: ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post sends one request. What may be tried again is a laterError (OTLP, section "Failures" of the HTTP transport).
func (c *client) post(ctx context.Context, body []byte) (rejected, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.options.Endpoint, bytes.NewReader(body))
	if err != nil {
		return rejected{}, err
	}
	for name, values := range c.options.Headers {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", contentType)
	answer, err := c.http.Do(req)
	if err != nil {
		return rejected{}, &laterError{err: err}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerBytesMax))
	if err != nil {
		return rejected{}, &laterError{err: fmt.Errorf("read the answer: %w", err)}
	}
	switch {
	case answer.StatusCode/100 == 2:
		return partial(answer, text), nil
	case answer.StatusCode == http.StatusTooManyRequests, answer.StatusCode == http.StatusBadGateway,
		answer.StatusCode == http.StatusServiceUnavailable, answer.StatusCode == http.StatusGatewayTimeout:
		return rejected{}, &laterError{err: statusError(answer, text), pause: retryAfter(answer)}
	}
	return rejected{}, statusError(answer, text)
}

// partial returns what the answer says of spans that were not taken.
func partial(answer *http.Response, text []byte) rejected {
	if media, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";"); media != contentType {
		return rejected{} // some answer with nothing, or with JSON
	}
	var r collector.ExportTraceServiceResponse
	if err := proto.Unmarshal(text, &r); err != nil {
		return rejected{message: "its answer cannot be read: " + err.Error()}
	}
	p := r.GetPartialSuccess()
	return rejected{spans: p.GetRejectedSpans(), message: shown(p.GetErrorMessage())}
}

// statusError is the error of an answer; a text of it is shown, bytes are not.
func statusError(answer *http.Response, text []byte) error {
	if media := answer.Header.Get("Content-Type"); strings.HasPrefix(media, "text/plain") && len(text) > 0 {
		return fmt.Errorf("the collector answers %s: %q", answer.Status, shown(string(text)))
	}
	return fmt.Errorf("the collector answers %s", answer.Status)
}

// shown shortens what a collector says to what fits a line of the log.
func shown(text string) string {
	const bytesMax = 200
	return strings.ToValidUTF8(text[:min(len(text), bytesMax)], "")
}

// retryAfter is how long the collector asks to wait, in seconds.
func retryAfter(answer *http.Response) time.Duration {
	seconds, err := strconv.ParseUint(answer.Header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
