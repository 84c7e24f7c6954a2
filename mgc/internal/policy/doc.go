// Package policy asks the network's policy function for the media of a call and hears from it what becomes of them. Floor 1 of mgc.
// Owner: N5, whose goroutines are its delete workers and one per Create under way, both bounded.
//
// An Agent has one application session per call (TS 29.514 §4.2, the P-CSCF being the AF):
//
//	offer     Create  POST  .../app-sessions              servInfStatus PRELIMINARY -> 201, Location
//	fork      Update  PATCH .../app-sessions/{id}         sipForkInd SEVERAL_DIALOGUES, the widest resources of all early dialogs
//	answer    Update  PATCH .../app-sessions/{id}         servInfStatus FINAL
//	ICE pair  Update  PATCH .../app-sessions/{id}         flow descriptions of the selected pair
//	events    Event   POST  {notifUri}/notify             the policy function calls; Handler answers
//	release   Event   POST  {notifUri}/terminate          the call is ended, then Delete
//	end       Delete  POST  .../app-sessions/{id}/delete  once; repeated until it is acknowledged or given up
//
// The application session is a value (Session) that belongs into the record of the call: a successor goes on with it. Every outcome that
// is not a grant is a *Refusal, which says how the SIP request is to be answered.
package policy
