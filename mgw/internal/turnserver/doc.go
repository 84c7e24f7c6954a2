// Package turnserver is the embedded STUN and TURN server (RFC 8489, RFC 8656): browsers whose network lets no UDP through reach the
// gateway's own media ports over TURN, by UDP, TCP or TLS. Floor 1 of mgw. It stands beside the packet path, not in it.
//
//	client socket -> limits, framing (TCP) -> pion/turn: authentication, allocation, permission, channel
//	  -> relay socket -> peers that are allowed -> a worker's access port, and back
//
// Owners: Server owns the listeners; each UDP listener and each TCP or TLS connection is a client of its own with one goroutine of
// pion/turn that reads it. What a client remembers of the request that is being worked on belongs to that goroutine. Each allocation has one
// more goroutine, which reads its relay socket.
//
// Of what pion/turn does otherwise than RFC 8656 says, the client puts the error code right on the way out (answer.go). Unauthenticated
// input allocates nothing that outlives it, and is bounded per source.
package turnserver
