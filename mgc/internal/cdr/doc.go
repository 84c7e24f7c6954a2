// Package cdr writes call data records as lines of JSON. Floor 1 of mgc. Owner: Writer, whose one goroutine owns the file.
//
//	call owner   Progress.Take: which record, with which number      (a value in the call's own record: a successor counts on)
//	             Writer.Put: into the queue, never blocks
//	writer       collects for a moment, leaves out duplicates, one write, one sync, then tells each done
//	file         cdr-<instance>.jsonl; renamed to cdr-<instance>-<time>-<number>.jsonl when it is full or old: a name that a
//	             collector may fetch never changes any more
//
// Exactly once: a record is named by its call and its number in the call. The writer refuses a name, or a second end of a call, that it
// has written, also before its restart. The call's own record is to be deleted only when done said that the last record is kept: an
// instance that dies in between is succeeded by one that writes the same record under the same name, into another file perhaps, and
// Read leaves out the second.
//
// Nothing is lost silently: what does not fit into the queue is counted by type. Records of a beginning and of a change give way first.
package cdr
