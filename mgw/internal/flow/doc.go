// Package flow is the packet path of the MGW: terminations in realms, pinned to workers, joined by one-way flows. Floor 2. // hot
// Owner: each worker goroutine, locked to its thread, owns all packet state of its terminations; the exported methods are the
// control side, safe from any goroutine, and reach that state by commands.
//
// A packet walk from the browser to the core (TS 23.334 §6.2):
//
//	stage                                    where         how
//	1 batch read from the access socket      udpio         one recvmmsg for many packets
//	2 demux by first byte                    rtp           RFC 7983 §7; STUN and DTLS leave for pion through bounded queues
//	3 termination by source address          worker        only the selected, authenticated pair is in the table
//	4 authenticate and decrypt in place      srtp          RFC 3711, RFC 7714
//	5 gate                                   gate          mode, payload type, token bucket; each refusal has a counter
//	6 relay, DTMF translation or decode      Flow          by payload type
//	7 continuous SSRC, seq and timestamp     stamp         per peer
//	8 batch write                            udpio         one sendmmsg per socket and round
//
// The way back is the same with latching or the source filter (H.248.37, H.248.43) in place of stages 3 and 4, and encryption after stage 7.
package flow
