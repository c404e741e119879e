package consumer

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	"github.com/segmentio/kafka-go"
)

// balancer assigns whole lanes (one partition number of all input topics) and leaves a lane where it was as far as an
// even share allows, so that a rebalance moves as little as possible.
//
// Its protocol name carries the layout: the group coordinator refuses a member that knows no common protocol
// (INCONSISTENT_GROUP_PROTOCOL), and so no two members ever judge under different layouts side by side.
type balancer struct {
	protocol string

	mu         sync.Mutex
	generation int32
	lanes      []int32 // owned in that generation
}

var _ kafka.GroupBalancer = (*balancer)(nil)

// ProtocolPrefix begins the name of the group's protocol, before the layout.
const ProtocolPrefix = "lapwing-"

func newBalancer(l layout) *balancer {
	return &balancer{protocol: ProtocolPrefix + l.String(), generation: -1}
}

// remember notes what this member owns; it tells the leader so at the next join.
func (b *balancer) remember(generation int32, lanes []int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.generation, b.lanes = generation, slices.Clone(lanes)
}

// ProtocolName implements kafka.GroupBalancer.
func (b *balancer) ProtocolName() string { return b.protocol }

// UserData implements kafka.GroupBalancer: generation and owned lanes, each four bytes.
func (b *balancer) UserData() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data := binary.BigEndian.AppendUint32(nil, uint32(b.generation))
	for _, lane := range b.lanes {
		data = binary.BigEndian.AppendUint32(data, uint32(lane))
	}
	return data, nil
}

func parseUserData(data []byte) (generation int32, lanes []int32) {
	if len(data) < 4 || len(data)%4 != 0 {
		return -1, nil // a member that tells nothing owned nothing
	}
	generation = int32(binary.BigEndian.Uint32(data))
	for data = data[4:]; len(data) > 0; data = data[4:] {
		lanes = append(lanes, int32(binary.BigEndian.Uint32(data)))
	}
	return generation, lanes
}

// AssignGroups implements kafka.GroupBalancer; it runs on the group's leader. The result depends on nothing but its
// arguments.
func (b *balancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	topicsOf := make(map[int32][]string)
	for _, p := range partitions {
		topicsOf[int32(p.ID)] = append(topicsOf[int32(p.ID)], p.Topic)
	}
	lanes := slices.Sorted(maps.Keys(topicsOf))
	assignments := make(kafka.GroupMemberAssignments, len(members))
	for member, owned := range assignLanes(members, lanes) {
		byTopic := make(map[string][]int)
		for _, lane := range owned {
			for _, topic := range topicsOf[lane] {
				byTopic[topic] = append(byTopic[topic], int(lane))
			}
		}
		assignments[member] = byTopic
	}
	return assignments
}

// assignLanes gives each member its even share, first of what it owned in the newest generation that claims the lane.
func assignLanes(members []kafka.GroupMember, lanes []int32) map[string][]int32 {
	type claim struct {
		member     string
		generation int32
	}
	ids := make([]string, 0, len(members))
	owner := make(map[int32]claim)
	for _, m := range members {
		ids = append(ids, m.ID)
		generation, owned := parseUserData(m.UserData)
		for _, lane := range owned {
			if c, ok := owner[lane]; !ok || generation > c.generation || generation == c.generation && m.ID < c.member {
				owner[lane] = claim{m.ID, generation}
			}
		}
	}
	slices.Sort(ids)
	assigned := make(map[string][]int32, len(ids))
	for _, id := range ids {
		assigned[id] = nil
	}
	if len(ids) == 0 {
		return assigned
	}
	share, extra := len(lanes)/len(ids), len(lanes)%len(ids) // extra members take one more
	var free []int32
	for _, lane := range lanes {
		c, owned := owner[lane]
		n := len(assigned[c.member])
		switch {
		case owned && n < share:
		case owned && n == share && extra > 0:
			extra--
		default:
			free = append(free, lane)
			continue
		}
		assigned[c.member] = append(assigned[c.member], lane)
	}
	for _, lane := range free {
		least := slices.MinFunc(ids, func(x, y string) int { return cmp.Compare(len(assigned[x]), len(assigned[y])) })
		assigned[least] = append(assigned[least], lane)
	}
	for _, owned := range assigned {
		slices.Sort(owned)
	}
	return assigned
}
