// Package browser tests Isthmus between real foreign stacks: Chromium with the web phone (JsSIP) on one side, Kamailio as
// registrar and proxy with baresip users behind it on the other. Everything runs in network namespaces of the test's own.
//
//	Chromium -- SIP over WebSocket, ICE, DTLS-SRTP -- MGC + MGW -- SIP, RTP -- Kamailio -- baresip bob, carol
//	127.0.0.1                                         10.77.0.1                10.77.0.2
//
// TestBrowserToSecureBaresip is the same with SRTP between the MGW and bob, with keys in SDP.
//
// Where digits come by INFO, sipp calls from the place of bob.
//
// Who is heard is told by frequency: the browser sends 620 Hz, bob 440 Hz, carol 880 Hz.
package browser
