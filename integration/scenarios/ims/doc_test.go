// Package ims tests Isthmus as the eP-CSCF of an IMS: Chromium with the web phone (JsSIP) on one side, Kamailio as home network
// (registrar, Service-Route, Path, reg event) with VoLTE user equipment played by sipp behind it on the other. Everything runs in
// network namespaces of the test's own.
//
//	Chromium -- SIP over WebSocket, ICE, DTLS-SRTP -- MGC + MGW -- SIP -- Kamailio -- SIP -- sipp
//	127.0.0.1                                         10.77.0.1          10.77.0.2           10.77.0.2
//	                                                  MGW ------------- RTP ---------------- rtpua 10.77.0.1
//
// sipp plays the ladders of xml/; where one says cue, it waits for the test, so that nothing depends on how fast anything is. Its
// audio is that of an rtpua.Endpoint. Who is heard is told by frequency. Scenarios run side by side, each with a page, a user and
// user equipment of its own.
package ims
