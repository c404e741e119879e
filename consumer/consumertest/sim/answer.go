package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"reflect"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// frameBytesMax bounds a frame of a connection in a simulation.
const frameBytesMax = 256 << 20

// readFrame reads a request or an answer, its size included.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > frameBytesMax {
		return nil, fmt.Errorf("sim: a frame of %d bytes", n)
	}
	frame := make([]byte, 4+n)
	copy(frame, size[:])
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// request is a frame from a client with its header.
type request struct {
	frame       []byte
	key         int16
	version     int16
	correlation int32
}

func parseHeader(frame []byte) (request, error) {
	if len(frame) < 12 {
		return request{}, fmt.Errorf("sim: a request of %d bytes", len(frame))
	}
	return request{
		frame: frame, key: int16(binary.BigEndian.Uint16(frame[4:])), version: int16(binary.BigEndian.Uint16(frame[6:])),
		correlation: int32(binary.BigEndian.Uint32(frame[8:])),
	}, nil
}

// message decodes the request. What cannot be decoded is a mistake of the client or of this package, and panics.
func (r request) message() kmsg.Request {
	m := kmsg.RequestForKey(r.key)
	m.SetVersion(r.version)
	reader := kbin.Reader{Src: r.frame[12:]}
	reader.NullableString() // the client's id
	if m.IsFlexible() {
		kmsg.SkipTags(&reader)
	}
	if err := m.ReadFrom(reader.Src); err != nil {
		panic(fmt.Sprintf("sim: request %s v%d: %v", kmsg.NameForKey(r.key), r.version, err))
	}
	return m
}

// with returns the frame of another message under the same header.
func (r request) with(m kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("sim")).AppendRequest(nil, m, r.correlation)
}

// answer is the frame of an answer to the request.
func (r request) answer(m kmsg.Response) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4, 256), uint32(r.correlation))
	if m.IsFlexible() && r.key != int16(kmsg.ApiVersions) {
		b = append(b, 0)
	}
	b = m.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// decodeAnswer decodes the broker's answer to the request m.
func (r request) decodeAnswer(m kmsg.Request, frame []byte) kmsg.Response {
	a := m.ResponseKind()
	reader := kbin.Reader{Src: frame[8:]}
	if a.IsFlexible() && r.key != int16(kmsg.ApiVersions) {
		kmsg.SkipTags(&reader)
	}
	if err := a.ReadFrom(reader.Src); err != nil {
		panic(fmt.Sprintf("sim: answer to %s v%d: %v", kmsg.NameForKey(r.key), r.version, err))
	}
	return a
}

// setCodes writes the code into each ErrorCode below the top of an answer, or into that at the top where it has no other
// or the top is asked for.
func setCodes(a kmsg.Response, code int16, top bool) {
	v := reflect.ValueOf(a).Elem()
	if !top && setBelow(v, code, 0) > 0 {
		return
	}
	if f := v.FieldByName("ErrorCode"); f.IsValid() {
		f.SetInt(int64(code))
		return
	}
	panic(fmt.Sprintf("sim: %T has no place for a code", a))
}

func setBelow(v reflect.Value, code int16, depth int) int {
	n := 0
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			n += setBelow(v.Index(i), code, depth)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			switch {
			case name == "ErrorCode" && depth > 0:
				v.Field(i).SetInt(int64(code))
				n++
			case v.Field(i).Kind() == reflect.Slice:
				n += setBelow(v.Field(i), code, depth+1)
			}
		}
	}
	return n
}

// blank is an answer to a request that was not carried out, about the same partitions, without codes.
func blank(m kmsg.Request) kmsg.Response {
	switch r := m.(type) {
	case *kmsg.ProduceRequest:
		a := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range r.Topics {
			out := kmsg.NewProduceResponseTopic()
			out.Topic = t.Topic
			for _, p := range t.Partitions {
				part := kmsg.NewProduceResponseTopicPartition()
				part.Partition, part.BaseOffset = p.Partition, -1
				out.Partitions = append(out.Partitions, part)
			}
			a.Topics = append(a.Topics, out)
		}
		return a
	case *kmsg.FetchRequest:
		a := r.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range r.Topics {
			out := kmsg.NewFetchResponseTopic()
			out.Topic, out.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				part := kmsg.NewFetchResponseTopicPartition()
				part.Partition, part.HighWatermark, part.LastStableOffset, part.LogStartOffset = p.Partition, -1, -1, -1
				out.Partitions = append(out.Partitions, part)
			}
			a.Topics = append(a.Topics, out)
		}
		return a
	case *kmsg.ListOffsetsRequest:
		a := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, t := range r.Topics {
			out := kmsg.NewListOffsetsResponseTopic()
			out.Topic = t.Topic
			for _, p := range t.Partitions {
				part := kmsg.NewListOffsetsResponseTopicPartition()
				part.Partition, part.Offset, part.Timestamp = p.Partition, -1, -1
				out.Partitions = append(out.Partitions, part)
			}
			a.Topics = append(a.Topics, out)
		}
		return a
	case *kmsg.OffsetCommitRequest:
		a := r.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, t := range r.Topics {
			out := kmsg.NewOffsetCommitResponseTopic()
			out.Topic = t.Topic
			for _, p := range t.Partitions {
				part := kmsg.NewOffsetCommitResponseTopicPartition()
				part.Partition = p.Partition
				out.Partitions = append(out.Partitions, part)
			}
			a.Topics = append(a.Topics, out)
		}
		return a
	case *kmsg.OffsetFetchRequest:
		a := r.ResponseKind().(*kmsg.OffsetFetchResponse)
		for _, t := range r.Topics {
			out := kmsg.NewOffsetFetchResponseTopic()
			out.Topic = t.Topic
			for _, p := range t.Partitions {
				part := kmsg.NewOffsetFetchResponseTopicPartition()
				part.Partition, part.Offset, part.Metadata = p, -1, kmsg.StringPtr("")
				out.Partitions = append(out.Partitions, part)
			}
			a.Topics = append(a.Topics, out)
		}
		return a
	case *kmsg.TxnOffsetCommitRequest:
		a := r.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, t := range r.Topics {
			out := kmsg.NewTxnOffsetCommitResponseTopic()
			out.Topic = t.Topic
			for _, p := range t.Partitions {
				part := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				part.Partition = p.Partition
				out.Partitions = append(out.Partitions, part)
			}
			a.Topics = append(a.Topics, out)
		}
		return a
	case *kmsg.AddPartitionsToTxnRequest:
		a := r.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
		for _, t := range r.Topics {
			out := kmsg.NewAddPartitionsToTxnResponseTopic()
			out.Topic = t.Topic
			for _, p := range t.Partitions {
				part := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				part.Partition = p
				out.Partitions = append(out.Partitions, part)
			}
			a.Topics = append(a.Topics, out)
		}
		return a
	case *kmsg.DescribeConfigsRequest:
		a := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, t := range r.Resources {
			out := kmsg.NewDescribeConfigsResponseResource()
			out.ResourceType, out.ResourceName = t.ResourceType, t.ResourceName
			a.Resources = append(a.Resources, out)
		}
		return a
	}
	return m.ResponseKind()
}

// refuseMetadata changes an answer that lists topics: the code stands at each topic, or with partitions at the leader of
// the first partition of each, as during an election. False: it lists none.
func refuseMetadata(a *kmsg.MetadataResponse, code int16, partitions bool) bool {
	for i := range a.Topics {
		t := &a.Topics[i]
		if !partitions {
			t.ErrorCode, t.Partitions = code, nil
			continue
		}
		for j := range t.Partitions[:min(1, len(t.Partitions))] {
			p := &t.Partitions[j]
			p.ErrorCode = code
			if code == 5 { // LEADER_NOT_AVAILABLE
				p.Leader = -1
			}
		}
	}
	return len(a.Topics) > 0
}

// withoutFirst takes the first partition out of a Produce request of several; false: it has only one.
func withoutFirst(m *kmsg.ProduceRequest) (topic string, partition int32, ok bool) {
	n := 0
	for _, t := range m.Topics {
		n += len(t.Partitions)
	}
	if n < 2 {
		return "", 0, false
	}
	t := &m.Topics[0]
	topic, partition = t.Topic, t.Partitions[0].Partition
	if t.Partitions = t.Partitions[1:]; len(t.Partitions) == 0 {
		m.Topics = m.Topics[1:]
	}
	return topic, partition, true
}

// addRefused puts the partition that was taken out back into the answer.
func addRefused(a *kmsg.ProduceResponse, topic string, partition int32, code int16) {
	part := kmsg.NewProduceResponseTopicPartition()
	part.Partition, part.ErrorCode, part.BaseOffset = partition, code, -1
	for i := range a.Topics {
		if a.Topics[i].Topic == topic {
			a.Topics[i].Partitions = append(a.Topics[i].Partitions, part)
			return
		}
	}
	out := kmsg.NewProduceResponseTopic()
	out.Topic, out.Partitions = topic, append(out.Partitions, part)
	a.Topics = append(a.Topics, out)
}
