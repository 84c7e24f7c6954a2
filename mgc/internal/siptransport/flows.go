package siptransport

import "sync"

// Flows is the table of live connections by flow id, shared by the edges. Safe for concurrent use.
type Flows struct {
	mu    sync.RWMutex
	links map[string]Link // guarded by mu
}

// NewFlows returns an empty table.
func NewFlows() *Flows { return &Flows{links: make(map[string]Link)} }

// Add enters a connection.
func (f *Flows) Add(l Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links[l.Flow().ID] = l
}

// Remove takes a connection out.
func (f *Flows) Remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.links, id)
}

// Get returns the connection with the id, or ErrFlowGone.
func (f *Flows) Get(id string) (Link, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if l := f.links[id]; l != nil {
		return l, nil
	}
	return nil, ErrFlowGone
}

// Len returns the number of live connections.
func (f *Flows) Len() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.links)
}
