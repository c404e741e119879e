// Package sim runs whole engines in one process against scripted faults, one run for each seed, and checks every run with
// the independent checker of package consumertest.
//
// # A run
//
// A seed draws one to three brokers (kfake), one to three members (package consumer as it is), a store in memory, the
// engines' options, the events (bad records, tombstones, headers, interleaved transactions), a script of faults, and
// happenings: members that restart, crash, join, leave, lose the network or freeze for longer than their session; a store
// that is away, empty or an older copy. The load comes in pieces, each after a happening. Then the faults end, and the
// members must judge everything, without help, and stop cleanly. A fresh member settles what is left. Then each input
// record must have exactly its due result or dead letter, and each lane a checkpoint at its committed offset.
//
// # The script
//
// The table (table.go) has, for each kind of request of an engine's start, membership and batches: lost; never answered;
// carried out and unheard; slow; carried out late, when the client has long given it up; refused with each code that a
// broker has for it, in its partitions or at the top; and carried out though the answer is a code. A fault is "the nth
// EndTxn of the run", counted over all members. A row of 40 seeds (0 to 39, 40 to 79 ...) plans the whole table twice.
//
// Faults are made at the members' end of each connection (network.go), which passes one request after the other: so
// producers and the checker meet none, and whatever the broker does, it has really done.
//
// # What is repeated
//
// The same seed gives the same script, happenings, options and events. It does not give the same interleaving of
// goroutines, nor the same times. A failure may need several tries: --repeat.
//
// # What is not the broker's
//
// kfake is a good fake, and differs: see network.cut and the times in settings.go for what had to be worked round. It
// writes markers at once, so that what an engine does while they are pending is tested by scripted codes (51, 88) only.
package sim
