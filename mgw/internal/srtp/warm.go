package srtp

// Warm reads some of what ProtectRTP will read, so that the processor has it at hand then, and returns something without meaning.
func (s *Sender) Warm() uint64 { return s.sent.newest.index }

// Warm reads some of what OpenRTP will read, so that the processor has it at hand then, and returns something without meaning.
func (r *Receiver) Warm() uint64 { return r.sources.newest.index }
