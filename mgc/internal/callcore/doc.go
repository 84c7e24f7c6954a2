// Package callcore is the pure transparent B2BUA of one call between a browser and a SIP user. Floor 2 of mgc; it has no
// goroutine, clock, socket, log or randomness: the call's owner goroutine feeds events to State.Step and performs the
// effects that come back, in order.
//
// # One call
//
//	RequestIn{LegAccess, INVITE}  ─► SendResponse 100, Transact{Add access, Add core}
//	IqReply                       ─► SendRequest{LegCore, INVITE}, StartTimer no-answer
//	ResponseIn{LegCore, 180}      ─► SendResponse 180
//	ResponseIn{LegCore, 200}      ─► SendRequest ACK, Transact{Modify core, access}, SendResponse 200, StartTimer 2xx, set-up
//	AckIn{LegAccess}              ─► StopTimer 2xx
//	IqNotify DTLS connected       ─► StopTimer set-up
//	RequestIn{LegCore, BYE}       ─► SendResponse 200, SendRequest{LegAccess, BYE}, Transact{Subtract all}
//	ResponseIn, IqReply           ─► Ended
//
// # Duties of the executor
//
//   - It marshals and stores the State that a Step left behind before it performs a Transact effect of that Step (write-ahead).
//     Whoever takes the call over re-sends Pending() and starts Timers() again; transaction ids make that harmless.
//   - It performs effects in order; Ended is the last one ever.
//   - It tells the fate of every SendRequest that has a Tx (exactly one final ResponseIn or TxFailed) and of every Transact (IqReply).
//   - Messages come out complete but for Via and Content-Length. A request for LegCore goes to its top Route, else to its
//     Request-URI; one for LegAccess goes over the browser's flow.
//   - A Transact with Pick set has no MGW yet: the executor chooses one and reports it in IqReply.MGW and BootID.
//
// # Offers in the call
//
// One at a time (reoffer.go): the other side is told when the direction changes for it, the MGW restarts ICE when asked to, then the answer
// goes out. What fails leaves each side at what it has agreed to; where that no longer fits, settle makes an offer of our own.
//
// # What is carried across
//
// From, To (without tags) and the bodies of requests that are not offers or answers pass. Header fields pass by the allow-lists
// of package trust; everything else is per leg: Call-ID, tags, CSeq, Via, Route, Record-Route, Contact, Max-Forwards, Allow,
// Supported, Require, User-Agent, Server, session timers, reliability, and SDP (package offeranswer).
package callcore
