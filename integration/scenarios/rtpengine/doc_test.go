// Package rtpengine has a browser-like caller and a SIP telephone whose media goes through sipwise's rtpengine call each other through the
// daemons: rtpengine is the peer of the gateway's SRTP towards the core (RFC 4568, RFC 8643), and translates for the telephone; it is the peer of
// the gateway's AMR, AMR-WB (RFC 4867) and G.722, with coders of libavcodec, and of its DTMF tones. What passes between the two is looked at on the way.
package rtpengine
