package udpio

import "github.com/isthmus-gateway/isthmus/mgw/internal/prefetch"

// Fetch asks the processor for what reading and queueing touch. A nil s is no harm.
func (s *Socket) Fetch() { prefetch.Of(s, 24) }
