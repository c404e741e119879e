// Package consumertest is what the tests of several packages share: services to run on (kfake in the process, the ones
// that LAPWING_TEST_KAFKA and LAPWING_TEST_REDIS name, containers, a redis-server or a Kafka cluster of one's own), a
// seeded generator of events, an independent checker of the output, a TCP proxy that fails on command, and the built
// binary as a process that can be killed and frozen.
//
// The checker shares no code with the engine: it reads with franz-go at read_committed, decodes and counts by itself, and
// keeps of a user's past only what the rules' text says; its tests hold it against the naive model of package rulestest,
// which keeps everything.
package consumertest
