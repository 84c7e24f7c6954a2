package wsedge

import (
	"time"

	"github.com/coder/websocket"
)

// endGrace is how long a connection that is to be closed still carries what belongs to its end, a BYE or its answer.
const endGrace = 500 * time.Millisecond

// CloseFlow closes a connection after a moment in which its last messages go out, with status 1000 and the reason (at most 123
// bytes are sent). It does not block. Unknown flows are gone already.
func (s *Server) CloseFlow(flow, reason string) {
	l, err := s.flows.Get(flow)
	if err != nil {
		return
	}
	c, ok := l.(*conn)
	if !ok || !s.hold(c) {
		return
	}
	time.AfterFunc(endGrace, func() {
		defer s.running.Done()
		c.settle()
		_ = c.ws.Close(websocket.StatusNormalClosure, reason[:min(len(reason), 123)]) // the reader cleans up
		_ = c.ws.CloseNow()
	})
}

// hold makes Close wait for work on an open connection; false when it is not open any more.
func (s *Server) hold(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.conns[c]; !open || s.closed {
		return false
	}
	s.running.Add(1)
	return true
}
