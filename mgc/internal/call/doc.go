// Package call runs calls: one owner goroutine per call feeds the pure core and performs its effects on transactions,
// media gateways, timers and the store. Floor 3 of mgc.
//
//	edges ──► Manager.OnRequest/OnCancel/OnAck ──► owner's inbox ─┐
//	siptx (responses) ────────────────────────────────────────────┤
//	iqlink (replies, notify) ─────────────────────────────────────┼─► owner.run: State.Step ─► Journal.Save ─► effects
//	timers, registrar (flow lost/back), pool (MGW lost) ──────────┘                       (Sync before an Iq transaction)
//	other instances (bus) ◄─► envelopes: what is for the calls and browsers of another goes there, and back
//
// The manager's map holds the calls that this instance owns. A message for another call is looked up in the store: when
// the owner's instance is gone, the call is adopted by compare-and-set and goes on from its stored state; when it is alive, the
// message is forwarded to it, once. A call at rest follows its browser to the instance that it registers over. An owner that finds its
// record claimed by another stops at once. The record of an ended call goes before the manager forgets the call, so that
// no late message brings it back to life.
//
// Beside the core, and in the same record, the owner keeps the application session at the policy function (authorise.go) and the progress of
// its call data records (charge.go).
package call
