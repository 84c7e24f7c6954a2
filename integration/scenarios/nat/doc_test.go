// Package nat tests calls of real Chromium from behind real address translators, and from one network into another. Everything runs in
// network namespaces of the test's own:
//
//	          192.168.7.2     .1      100.64.0.2     .1        203.0.113.1     .2
//	Chromium ------ wifi ------ home ------------------ carrier ------------------ MGC, MGW 198.51.100.1, SIP core, bob
//	          10.20.0.2              .1        203.0.113.5                  .6  /
//	         ------ lte ---------------- mobile --------------------------------
//
// home, carrier and mobile are routers with rules of nft. The network lte is plugged in where a test says so. Before a call, probes with STUN
// judge whether the translators are what the case's name says (RFC 4787 §4.1, §5, RFC 5780 §4.3, §4.4).
//
// The browser uses a real capture device of its own (a file with 620 Hz), so that it may see its network interfaces; bob sends 440 Hz.
package nat
