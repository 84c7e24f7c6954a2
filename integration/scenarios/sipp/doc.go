// Package sipp tests the gateway against sipp, as SIP user, core and proxy, over UDP and TCP, with loss: scenarios in xml/,
// the browser end is webua, controller and media gateway run as processes. Floor 2 of the integration module.
//
// Sub-tests that carry the row of a standard begin with its ID (MO-15_busy).
package sipp
