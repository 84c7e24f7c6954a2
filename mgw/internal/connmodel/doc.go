// Package connmodel is the connection model of the media gateway as a pure core: contexts, terminations, streams and
// topology as values (H.248.1 §6), and the commands that change them (H.248.1 §7.2). Floor 2. It has no goroutine, no
// clock, no socket and no log; the owner of a Context (package contexts) calls it from one goroutine at a time.
//
// # Walk of one action
//
// Context.Apply takes one Action and a Perform function. It works on values: each command computes the terminations as
// they shall become, compares them with what they are (plan.go) and so gets a list of steps, each an Effect on media with
// its inverse. Perform carries an effect out and returns what the media plane chose (addresses, credentials). When a step
// fails, the inverses of the steps that succeeded are performed in reverse and the values from before are put back:
// for the failed command only, or for the whole action when it is atomic. What cannot be undone - closing a
// termination, giving up component 2 - is kept to the end of the action, when nothing can fail any more.
//
//	Action -> revision check -> attributes -> [command -> next values -> diff -> steps -> Perform]* -> closes -> reply
//
// CHOOSE (TS 29.334 §5.8): local fields left unset come back resolved in the reply, and only those.
package connmodel
