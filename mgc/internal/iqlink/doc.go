// Package iqlink is the controller's end of Iq: it serves MediaGatewayController to the MGWs and sends them transactions
// over one connection per MGW. Floor 4 of mgc.
//
//	MGW ── ServiceChange, Heartbeat ─► Link ─► Registry (mgwpool)
//	MGW ── Notify ───────────────────► Link: deduplicate ─► NotifyFunc (the call's owner) ─► verdict
//	call ── Transact(node, request) ─► Link: deadline, repeat with the same transaction id ─► MGW
//
// Identity: with TLS both ends prove a certificate of the pool's CA, and the name in an MGW's certificate must be its
// mgw_id, in both directions. Without TLS only loopback addresses are spoken to, unless Config.Insecure says otherwise.
// Certificates are read anew when their files change.
//
// Goroutines: those of gRPC, owned by the Link, which waits for them in Close.
package iqlink
