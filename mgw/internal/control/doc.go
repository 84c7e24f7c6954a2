// Package control is the media gateway's end of Iq: it serves MediaGateway to the controllers (server.go, audit.go) and keeps
// the association with their pool (association.go): registration, heartbeats, Notify. Floor 4.
//
// Owners: RPC handlers run on goroutines of gRPC and reach contexts through contexts.Manager; the association is one goroutine,
// Association.Run. The idempotency of transactions is in replies.go (H.248.1 §8, at-most-once), service states and drain in drain.go
// (H.248.1 §7.2.8).
//
// Errors of commands travel as ErrorDescriptor; a gRPC status other than OK means transport, identity or overload, and the
// same transaction may be sent again.
package control
