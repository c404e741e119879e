package state

import "github.com/lapwing/lapwing/rules"

// AppendRecordOf is AppendRecord in a version.
func AppendRecordOf(version byte, types *rules.Types, r *Record) ([]byte, error) {
	c := NewCodec(types)
	return c.append(nil, version, r.Incarnation, r.Lane, r.Tag, &r.State)
}
