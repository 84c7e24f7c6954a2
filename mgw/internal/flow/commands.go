package flow

// post queues f to be run by the worker; false when the worker has stopped. It does not wait.
func (w *worker) post(f func()) bool {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return false
	}
	w.commands = append(w.commands, f)
	if !w.pending.Swap(true) {
		w.poll.Wake()
	}
	w.mu.Unlock()
	return true
}

// do runs f on the worker and waits for it; false when the worker has stopped. Never from the worker itself.
func (w *worker) do(f func()) bool {
	done := make(chan struct{})
	if !w.post(func() { f(); close(done) }) {
		return false
	}
	<-done
	return true
}

func (w *worker) runCommands() {
	if !w.pending.Load() {
		return
	}
	w.forward() // what has been read belongs to the state before the commands, and what is queued
	w.drain()
	w.mu.Lock()
	todo := w.commands
	w.commands = nil
	w.pending.Store(false)
	w.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// close stops the goroutine and waits for it. Commands posted before are run.
func (w *worker) close() {
	w.post(func() { w.stop = true })
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	<-w.exited
	w.runCommands()
}
