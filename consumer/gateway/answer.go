package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/lapwing/lapwing/consumer/contract"
)

// Reasons of the gateway's own errors; a contract.Reason is the reason of what is no event. They are
// part of the HTTP contract and a label of metrics, so words are never renamed.
const (
	reasonOK               contract.Reason = "ok" // metrics only
	reasonNotFound         contract.Reason = "not_found"
	reasonMethod           contract.Reason = "method_not_allowed"
	reasonMediaType        contract.Reason = "unsupported_media_type"
	reasonBody             contract.Reason = "unreadable_body"
	reasonSlow             contract.Reason = "request_timeout"
	reasonNotReady         contract.Reason = "not_ready"
	reasonBusy             contract.Reason = "busy"
	reasonRate             contract.Reason = "rate_limited"
	reasonNotWritten       contract.Reason = "not_written"
	reasonUnknownIfWritten contract.Reason = "unknown_if_written"
	reasonNoResult         contract.Reason = "no_result"
	reasonBadResult        contract.Reason = "bad_result"
	reasonClientGone       contract.Reason = "client_gone" // metrics only
)

// statusClientGone is what the metrics count a request as whose client left (as nginx does); it is
// never sent.
const statusClientGone = 499

// retryAfterSeconds is the pause that a 503 and a 429 ask for: at any rate of whole events a second there is one more by then.
const retryAfterSeconds = "1"

// Values of member written: whether the event is in the input topic.
const (
	writtenNo      = "no"
	writtenYes     = "yes"
	writtenUnknown = "unknown"
)

// answer is what a request is answered with.
type answer struct {
	status int
	reason contract.Reason
	result []byte // of 200: the body
	detail string
	// written is empty where there is no valid event.
	written string
	source  string // where the event is, if known: topic/partition/offset
	allow   string // of 405
}

// errorBody is the body of all answers but 200.
type errorBody struct {
	Error errorMember `json:"error"`
}

type errorMember struct {
	Reason  contract.Reason `json:"reason"`
	Detail  string          `json:"detail"`
	Written string          `json:"written,omitempty"`
	Source  string          `json:"source,omitempty"`
}

func refusal(status int, reason contract.Reason, detail string) answer {
	return answer{status: status, reason: reason, detail: detail}
}

// unavailable is a 503 for a valid event.
func unavailable(reason contract.Reason, written, detail string) answer {
	return answer{status: http.StatusServiceUnavailable, reason: reason, written: written, detail: detail}
}

// write sends the answer. An error means that the client has gone; nobody is left to tell.
func (a answer) write(w http.ResponseWriter) {
	body := a.result
	if a.status != http.StatusOK {
		body, _ = json.Marshal(errorBody{errorMember{a.reason, a.detail, a.written, a.source}}) // strings always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.allow != "" {
		h.Set("Allow", a.allow)
	}
	if a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests {
		h.Set("Retry-After", retryAfterSeconds)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body)
}
