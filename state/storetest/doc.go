// Package storetest is the contract of state.Store as tests: one suite that each
// implementation runs.
package storetest
