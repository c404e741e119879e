// Package state keeps the states of users outside the process, so that a lane
// can be started anywhere and go on where it stopped. Kafka's log is the truth;
// what is stored here is a checkpoint right behind it.
//
// # What is stored
//
// For each user one record {incarnation, lane, tag, state}: the state after the
// last event it includes, and the tag, the input offset after that event. Only
// committed states are written, so a record is true as of its tag whoever reads
// it and whenever.
//
// For each lane, in each shard, one fence record "<epoch>-<token>:<n>:<payload>":
// epoch and token of the claim that owns the lane, the number of its writes in
// that shard, and the lane's checkpoint as readable text.
//
// # How it is used
//
//  1. Store.Check: the server can be reached and will not drop records.
//  2. Store.Claim takes the lane: every past owner is refused from here on.
//  3. Lane.Previous says where the states stand; the owner replays from there.
//  4. Lane.Load reads the states of users that are not in memory.
//  5. A Snapshot is filled with the states that commits have changed, and
//     Lane.Flush writes it in chunks, the checkpoint with the last one.
//  6. After an error Flush is called again with the same snapshot until it is
//     taken. After ErrFenced the lane is over and is claimed anew.
//
// # What holds after a crash
//
//   - before or in the middle of a flush: some records are newer than the
//     checkpoint. They are committed states with a tag of their own, so the replay
//     from the checkpoint skips the events they include.
//   - after a flush: the checkpoint covers every record of it.
//   - a write that was sent and not answered is either applied once or not at all,
//     however often it is sent again and however late a copy of it arrives.
//   - a server that lost anything acknowledged (wiped, restarted from an older
//     copy, failed over) is noticed by the next touch, which returns ErrFenced.
//
// The invariants of a record are asserted in pairs, before it is written and
// after it was read (checkRecord); a record that breaks one is ErrCorrupt.
package state
