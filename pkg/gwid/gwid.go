// Package gwid names the objects of the gateway's connection model (H.248.1 §6). Floor 0 of pkg; pure values.
package gwid

// ContextID identifies a Context on one MGW: "<mgw_id>.<boot>.<n>". Opaque to the MGC. Empty means none.
type ContextID string

// TerminationID identifies a Termination on one MGW: "ip/<realm>/<n>". Opaque to the MGC. Empty means none.
type TerminationID string

// StreamID is the H.248 stream number, the ordinal of the m= line counted from 1.
type StreamID uint32
