package contexts

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Snapshot is a context at one moment, for audits and the admin service.
type Snapshot struct {
	ID            gwid.ContextID
	Revision      uint64
	Attributes    *iqv1.ContextAttributes
	Created       time.Time
	LastControl   time.Time
	PendingEvents int
	Terminations  []TerminationSnapshot // in order of Add
}

// TerminationSnapshot is one termination of a Snapshot.
type TerminationSnapshot struct {
	*connmodel.Termination                    // immutable
	Statistics             []*iqv1.Statistics // of each stream, in order of number; nil unless asked for
}

// Snapshots calls yield for each context that match accepts (nil: all), in order of creation, until yield returns false.
// Each is consistent in itself; contexts that end meanwhile are left out. It blocks for each context's commands in progress.
func (m *Manager) Snapshots(statistics bool, yield func(Snapshot) bool) {
	for _, c := range m.all() {
		if s, ok := c.snapshot(statistics); ok && !yield(s) {
			return
		}
	}
}

// Snapshot is one context; false when there is none of that id.
func (m *Manager) Snapshot(id gwid.ContextID, statistics bool) (Snapshot, bool) {
	c := m.find(id)
	if c == nil {
		return Snapshot{}, false
	}
	return c.snapshot(statistics)
}

// HasTermination reports whether the termination exists in any context.
func (m *Manager) HasTermination(id gwid.TerminationID) bool { return m.exists(id) }

func (c *entry) snapshot(withStatistics bool) (s Snapshot, ok bool) {
	c.await(maxJobs, func() {
		if c.ended || c.model.Empty() {
			return
		}
		ok = true
		s = Snapshot{
			ID: c.id, Revision: c.model.Revision, Attributes: c.model.AttributesMessage(), Created: c.created,
			LastControl: c.lastControl, PendingEvents: len(c.notes.queue),
		}
		for _, t := range c.model.Terminations() {
			ts := TerminationSnapshot{Termination: t}
			for _, st := range t.Streams {
				if l := c.handles[t.ID].stream(st.ID); withStatistics && l != nil {
					ts.Statistics = append(ts.Statistics, statistics(t.ID, st.ID, l.media.Stats()))
				}
			}
			s.Terminations = append(s.Terminations, ts)
		}
	})
	return s, ok
}
