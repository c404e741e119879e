// Package contract holds the bytes of Lapwing's three topics: events, results and dead letters.
//
//   - [Decoder] reads an event from a record's value, or says with a [Refusal] why it is none.
//   - [ResultEncoder] writes the result of an event, and [MinimalResult] cuts one to its three members.
//   - [AppendDeadLetterHeaders] and [CutDeadLetter] make a dead letter of a record that is no event.
//   - [Partitioner] finds the partition of a key as the common Kafka clients do.
//
// # How a value is judged
//
// A value is an event only if it passes each of these steps, and the first that it fails is its
// [Reason], whatever else is wrong with it:
//
//  1. too_large: it has more bytes than the limit.
//  2. confluent_framed: it begins with a zero byte and a four-byte schema id. With
//     [DecoderOptions.StripFrame] what follows these five bytes is judged by the steps below.
//  3. not_utf8: its bytes are not UTF-8.
//  4. not_json: it is not exactly one JSON value by RFC 8259, nests deeper than the limit, or escapes
//     a lone surrogate (such a string has no UTF-8 form).
//  5. duplicate_member: an object in it, at any depth, has two members of one name. Names are compared
//     after their escapes are decoded.
//  6. missing_member: it is an object without one of the event's members, or with one whose name
//     equals such a member's but for case. That is refused even beside the right one, because a
//     consumer that ignores case would read another event than Lapwing does.
//  7. wrong_type: it is no object, or a member's value is not of its type. A number with a fraction or
//     an exponent is not an integer, also where its value is (1.0, 1e3).
//  8. unknown_type: the event type is not among the configured ones.
//  9. amount_format: the amount is not written as a decimal number.
//  10. amount_range: the amount is zero or has too many digits.
//  11. user_id_range: the user_id is not within 0 to 2^63-1. A minus sign is refused also before zero.
//  12. time_range: the time is negative, too large, or too far after the record's timestamp.
//
// The thirteenth reason, wrong_partition, is given by the consumer to an event in another partition
// than its user's.
//
// The same contracts as JSON Schema, for other programs, are in deploy/contracts. What they can say of a value they say
// as this package does (TestEventSchema).
//
// The package knows nothing of Kafka connections, stores or clocks.
package contract
