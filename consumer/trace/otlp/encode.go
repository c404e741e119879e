package otlp

import (
	"fmt"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	pb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/lapwing/lapwing/consumer/trace"
)

// scope names who made the spans.
const scope = "github.com/lapwing/lapwing"

// request returns the message that has all spans.
func request(r *resource.Resource, spans []trace.Span) *collector.ExportTraceServiceRequest {
	encoded := make([]*pb.Span, len(spans))
	for i := range spans {
		encoded[i] = encode(&spans[i])
	}
	return &collector.ExportTraceServiceRequest{ResourceSpans: []*pb.ResourceSpans{{
		Resource:   r,
		ScopeSpans: []*pb.ScopeSpans{{Scope: &common.InstrumentationScope{Name: scope}, Spans: encoded}},
	}}}
}

func encode(s *trace.Span) *pb.Span {
	e := &pb.Span{
		TraceId: s.Context.Trace[:], SpanId: s.Context.Span[:], Flags: uint32(s.Context.Flags),
		Name: s.Name, Kind: kinds[s.Kind],
		StartTimeUnixNano: uint64(s.Start.UnixNano()), EndTimeUnixNano: uint64(s.End.UnixNano()),
		Attributes: keyValues(s.Attributes),
	}
	if s.Parent != (trace.SpanID{}) {
		e.ParentSpanId = s.Parent[:]
	}
	if s.Error != "" {
		e.Status = &pb.Status{Code: pb.Status_STATUS_CODE_ERROR, Message: s.Error}
	}
	return e
}

var kinds = map[trace.Kind]pb.Span_SpanKind{
	trace.KindInternal: pb.Span_SPAN_KIND_INTERNAL,
	trace.KindServer:   pb.Span_SPAN_KIND_SERVER,
	trace.KindProducer: pb.Span_SPAN_KIND_PRODUCER,
	trace.KindConsumer: pb.Span_SPAN_KIND_CONSUMER,
}

func keyValues(attributes []trace.Attribute) []*common.KeyValue {
	values := make([]*common.KeyValue, len(attributes))
	for i, a := range attributes {
		values[i] = &common.KeyValue{Key: a.Key, Value: anyValue(a.Value)}
	}
	return values
}

func anyValue(value any) *common.AnyValue {
	switch v := value.(type) {
	case string:
		return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: v}}
	case int64:
		return &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: v}}
	}
	panic(fmt.Sprintf("otlp: an attribute of type %T", value))
}
