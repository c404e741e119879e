// Package wire is Kafka's bytes as Lapwing needs them, on top of kafka-go's
// protocol package: what kafka-go does not have (transactions, stable offsets,
// topic ids) and what it does too slowly or unsafely for an engine that must
// judge every event exactly once (fetching, record batches).
//
// It knows nothing of events, rules or stores. It needs Kafka 3.1 or later.
//
// # How it reaches the broker
//
// Every request travels through one kafka.Transport, so that TLS, SASL, dialing
// and the pool of connections are kafka-go's. The hook is
// protocol.RawExchanger: a message that implements it is handed the negotiated
// connection and writes and reads its own bytes. No fork of kafka-go is needed.
// Leaders and coordinators are looked up and cached here, since kafka-go's
// Transport learns of a moved leader only when its metadata expires and asks
// for the coordinator before every single request (transport.go, sendRequest).
//
// # A transaction's life
//
// A Producer holds one transactional id. Its commit is strictly sequential:
//
//  1. AddPartitionsToTxn for the partitions of all batches
//  2. Produce, grouped by leader; the leaders in parallel, several batches of
//     one partition one after the other
//  3. AddOffsetsToTxn, TxnOffsetCommit with member and generation
//  4. EndTxn
//
// Where the cluster has the second transaction protocol (KIP-890), Produce and
// TxnOffsetCommit do the work of the Add requests, three round trips in place of
// five (1 stays where batches go to several leaders), and 4 answers with the epoch
// of the next transaction.
//
// Before 4 a crash leaves an open transaction, which the next InitProducerID
// of the same transactional id (Producer.Init, or Client.FenceTransactionalID
// by another process) or the broker's timeout aborts: nothing of it is ever
// visible to a read_committed reader. From 4 on the broker finishes it. Where
// the answer of 4 was lost, nobody knows which of the two holds: the producer
// is then doubtful, and the caller must Init and ask StableOffsets.
//
// # What the caller must do
//
//   - Call Producer.Init before StableOffsets: only then are the offsets of the
//     transaction before it final.
//   - After any error of Producer.Commit call Init before anything else. A new
//     batch under the old epoch and sequence would be taken by the broker for a
//     duplicate of the lost one and be dropped silently.
//   - Ask Classify what an error means. Nothing else compares error codes.
//
// # Trust
//
// Lengths and counts that arrive from outside never size an allocation: answers
// are bounded, record batches are checked (CRC32C) before they are parsed, and
// decompression stops at a limit (FetchOptions.DecompressedBytesMax). Every
// call has a deadline.
package wire
