// Package sipp runs sipp (Debian: sip-tester) as a SIP user or core beside the gateway: one process per scenario, what it
// did as exit status, statistics and message trace, and a UDP relay that loses chosen datagrams on the way. Floor 1 of the
// integration module.
//
// Owner: Process owns one sipp process and its files; Relay owns two sockets with a reader goroutine each.
package sipp
