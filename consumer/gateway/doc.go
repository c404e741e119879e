// Package gateway answers POST /event with the result of the event: it is the synchronous door to an
// engine that is all topics.
//
// # A request's life
//
//  1. The server (package httpd) has let the client in; otherwise it is answered 401 or 403. The headers are
//     checked (404, 405, 415). At most Options.InFlightMax requests go on, the next is answered 503; at most
//     Options.RateMax events are taken in a second, the next is answered 429.
//  2. The body is read, at most Options.BodyBytesMax bytes of it (413), and decoded as the engine will
//     decode it (contract.Decoder). What is no event is answered 400 with its reason, and never
//     reaches the topic.
//  3. The request waits under an id that no other request of any gateway has, and the event is written
//     with it (header lapwing-request-id) to the input topic: acks=all, key the user_id, in the
//     partition that Options.Partitioner gives. See below for an event that is not written.
//  4. The engine passes the id on to the result. Each partition of the output topic is read at
//     read_committed from its end on; a result of one of this gateway's ids goes to its request, which
//     is answered 200 with the result's three members. Without a result in time the answer is 504: the
//     event is in the topic all the same, and will be or was judged.
//
// # What an error says
//
// The body of every answer but 200 is
//
//	{"error":{"reason":"...","detail":"...","written":"...","source":"topic/partition/offset"}}
//
// Reason is a fixed word. Written says of a valid event whether it is in the input topic: "no" (the
// request may be sent again), "yes" (it must not be), or "unknown": the connection broke after the
// event was sent and before it was acknowledged. Source is the event's place, where it is known.
//
// # Never twice
//
// An event is sent again only if it is certain that it was not written: its bytes never went out, or
// the broker answered with an error that it gives before it appends. In every other case the request
// gets "unknown" instead of a second try, because the engine would judge both copies. (kafka.Writer
// tries again after a lost answer as well, and does not say which of both happened.)
//
// # Ownership
//
// [New] starts nothing. [Gateway.Run] owns the HTTP server and one goroutine for each partition of both
// topics, and has ended them all when it returns. The wire.Client is the caller's; if its Topics are
// restricted, they must contain the input topic.
package gateway
