// Package rtpengine has a browser-like caller and a SIP telephone whose media goes through sipwise's rtpengine call each other through the
// daemons: rtpengine is the peer of the gateway's SRTP towards the core (RFC 4568, RFC 8643), and translates for the telephone.
package rtpengine
