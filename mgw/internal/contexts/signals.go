package contexts

import (
	"errors"
	"fmt"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
)

// errGone tells that an announcement was removed after the command was checked.
var errGone = errors.New("contexts: no such announcement")

// announcement is the one of a name; nil: there is none.
func (c Config) announcement(name string) *signals.Clip {
	if c.Announcements == nil {
		return nil
	}
	return c.Announcements(name)
}

// signals is the model's signals as the packet path plays them. Errors: errGone.
func (m *Manager) signals(s connmodel.Signals) (flow.Signals, error) {
	out := flow.Signals{Internal: s.Internal}
	for _, x := range s.List {
		it := audio.Item{
			Name: x.Name, Request: s.RequestID, Notify: x.Notify, Keep: x.Keep,
			Key: fmt.Sprintf("%s %s %d %v", x.Name, x.Announcement, x.Rounds, x.Duration),
		}
		switch {
		case x.Digit != 0:
			it.Digit, it.Hold = dtmf.Code(x.Digit), x.Duration
		case x.Name == connmodel.Announcement:
			clip := m.cfg.announcement(x.Announcement)
			if clip == nil {
				return out, fmt.Errorf("%w %q", errGone, x.Announcement)
			}
			it.Source = signals.NewClip(clip, x.Rounds, x.Duration)
		default:
			it.Source = signals.NewTone(m.cfg.Tones[x.Name], x.Rounds, x.Duration)
		}
		out.List = append(out.List, it)
	}
	return out, nil
}

// play tells media what to play.
func (c *entry) play(l *line, s connmodel.Signals) error {
	what, err := c.mgr.signals(s)
	if err != nil {
		return err
	}
	return l.media.Play(what)
}
