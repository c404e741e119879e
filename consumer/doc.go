// Package consumer is the engine: it joins the consumer group, owns lanes, and takes every event from the input topic
// to its result exactly once, the state in Redis included.
//
// # The life of a batch
//
// Each lane (everything for one partition number) runs a reader and a judge; the process runs one committer.
//
//  1. The reader fetches at read_committed and decodes. What is no event becomes a dead letter, a null value is
//     counted.
//  2. The judge finds the states of the chunk's users in memory, or in Redis in one read with the lane's fence record.
//  3. It judges in order and appends results and dead letters to the lane's open parcel, while the previous parcel
//     commits.
//  4. The committer takes the open parcels of all lanes into one transaction: results, dead letters, input offsets.
//     One transaction follows the other, never two in parallel.
//  5. After the commit the lane's committed offset C moves. A snapshot of the states that were judged up to an offset
//     not above C goes to Redis, with the checkpoint M in its last chunk.
//
// # What is true after a crash
//
//	before 4 ends    Nothing of the batch is visible: the next owner reads the same C and judges it again.
//	inside EndTxn    The next owner's InitProducerID waits for the outcome; the stable offset then says which it was.
//	after 4          The results are visible and C includes them. M < C: the next owner replays [M, C) silently.
//	inside 5         Chunks without their checkpoint hold committed states with their own tags: the replay skips what
//	                 a state already includes.
//
// A lane in any doubt (failed transaction, refused write, lost position) drops its memory and starts again: see
// tenure. There is no other repair.
package consumer
