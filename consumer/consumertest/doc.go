// Package consumertest is what the tests of several packages share: services to run on (kfake in the process, the ones
// that LAPWING_TEST_KAFKA and LAPWING_TEST_REDIS name, containers, a redis-server of one's own), a seeded generator of
// events, an independent checker of the output, a TCP proxy that fails on command, and the built binary as a process
// that can be killed and frozen.
//
// The checker shares no code with the engine: it reads with franz-go at read_committed, decodes with encoding/json and
// judges with the naive model of package rulestest.
package consumertest
