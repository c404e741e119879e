// Package rulestest judges events by the four built-in rules in the most naive way, for tests to compare with.
//
// It keeps each user's whole history, looks through all of it for every event, and shares nothing with package rules:
// not its amounts, its state nor its rule files.
package rulestest
