package contexts

import "sync"

const (
	maxJobs      = 256 // queue of a strand; commands find it full only when the pool floods one context
	maxEventJobs = 192 // beyond it media events are dropped (newest first) and counted, so that commands still get in
)

// strand runs jobs one after the other in the order of posting. Its goroutine exists only while there are jobs; the
// crew of the Manager waits for it.
type strand struct {
	crew *crew

	mu      sync.Mutex // guards jobs, running
	jobs    []func()
	running bool
}

// post queues a job unless limit jobs wait already or the Manager has closed. It never blocks; false: not queued.
func (s *strand) post(limit int, job func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jobs) >= limit {
		return false
	}
	if !s.running {
		if !s.crew.enter() {
			return false
		}
		s.running = true
		go s.run()
	}
	s.jobs = append(s.jobs, job)
	return true
}

// run works off the queue and ends when it is empty.
func (s *strand) run() {
	defer s.crew.leave()
	for {
		s.mu.Lock()
		if len(s.jobs) == 0 {
			s.jobs, s.running = nil, false
			s.mu.Unlock()
			return
		}
		job := s.jobs[0]
		s.jobs[0] = nil
		s.jobs = s.jobs[1:]
		s.mu.Unlock()
		job()
	}
}
