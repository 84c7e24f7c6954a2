// Package store keeps everything of the controller that outlives a transaction: bindings, call records, MGW records,
// instance presence and the shared token keys. Floor 1 of mgc.
//
// A Store is a flat set of records, each with a key, a value, a revision and a time to live. Writes are
// compare-and-set by revision, so that two instances never overwrite each other unseen. Engines:
//
//	Open    NATS JetStream key-value: a cluster by URL, or, for tests of a pool, a server in this process. Same client code.
//	Memory  a map in this process with the same contract: for an instance without a pool, and for tests under testing/synctest.
//
// Above the engine stand small helpers that hold the traps in one place:
//
//	Table[T]   typed records as JSON under one prefix
//	Mirror[T]  a local copy of a table, kept by watch and by own writes, for reads that must not wait
//	Journal    the write-ahead path of one record: cheap Save per event, Sync before an effect leaves the process
//	Presence   which instances of the pool are alive
//	Keys       the token keys that a pool shares
//
// Time to live is an argument of every write: a write replaces the lifetime together with the value. Forgetting
// that is how a record lives for ever, so there is no write without it (Forever says it out loud).
//
// With Memory a restart of the only instance loses every record; the media nodes keep the media.
package store
