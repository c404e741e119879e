// Package chaos tries the claim of the engine: each event judged exactly once, its state included, whatever breaks. It
// starts a real Kafka cluster, a real Redis and engine processes that reach both through proxies of their own, feeds
// events at a rate, breaks things by a schedule that depends on a seed alone, and has all that was written, and all states
// that are left, judged by the independent checker of package consumertest.
//
// What breaks is in five tracks, which run at the same time: processes (one at a time), the network between one engine and
// everything else, brokers (one at a time, since the topics want two of three replicas), Redis, and data: records deleted
// from the input, for which the other tracks pause.
package chaos
