// Package contexts keeps the contexts of the media gateway alive: it feeds actions and media events to connmodel and
// performs the effects on the packet path. Floor 3.
//
// Owner: each Context has one owner at a time, its strand (strand.go): a queue of jobs worked off by a goroutine that exists
// only while there is work. So the state of a context has no lock and no reader but its owner, a slow command holds up its own
// context only, and a context at rest - most of a call - costs no stack, which keeps a call under its 128 KiB
// (a resident goroutine each would take 4 to 8 KiB of that for nothing). See docs/adr/001-strands.md of the module.
//
// Walk of an event: flow worker -> Manager.Event -> strand -> armed filter (H.248.1 §7.1.9) -> queue of the context -> Notify,
// one at a time and in order, repeated until the pool has taken it over -> next. A pool that does not know the context
// starts the countdown of a hanging termination (H.248.36), at whose end the context is subtracted.
package contexts
