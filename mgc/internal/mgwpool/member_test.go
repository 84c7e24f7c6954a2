package mgwpool

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// member is the pool of one instance and what it was told.
type member struct {
	*Pool
	mu   sync.Mutex
	lost []string
}

func (m *member) takeLost() []string {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.lost
	m.lost = nil
	return out
}

// inBubble runs a test with pools of two instances on one store and a fake clock.
func inBubble(t *testing.T, f func(t *testing.T, s *store.Memory, a, b *member)) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		defer s.Close()
		var ms [2]*member
		for i, name := range []string{"a", "b"} {
			m := &member{}
			p, err := New(t.Context(), Config{Instance: name, OnLost: func(l Lost) {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.lost = append(m.lost, strings.Join(append([]string{l.MGW + "/" + l.Boot, l.Reason}, l.Realms...), " "))
			}}, s)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			m.Pool = p
			ms[i] = m
		}
		f(t, s, ms[0], ms[1])
	})
}

func restart(id, boot string) *iqv1.ServiceChangeRequest {
	return &iqv1.ServiceChangeRequest{MgwId: id, BootId: boot, Method: iqv1.ServiceChangeRequest_METHOD_RESTART, Address: "10.0.0.1:7420",
		Capabilities: &iqv1.Capabilities{ProfileVersion: 1, Software: "mgw", MaxContexts: 100,
			Realms: []*iqv1.Realm{{Name: "access", Kind: access}, {Name: "core", Kind: core}}, Codecs: []*iqv1.Codec{{Name: "OPUS"}}}}
}

// send makes the change and returns the H.248.8 code of the reply, 0 when it was granted.
func (m *member) send(t *testing.T, r *iqv1.ServiceChangeRequest) gwerr.Code {
	t.Helper()
	reply, err := m.ServiceChange(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if reply.GetMgcInstance() != m.cfg.Instance || reply.GetHeartbeatInterval().AsDuration() != 5*time.Second || reply.GetProfileVersion() != wantProfile(r) {
		t.Errorf("reply %v", reply)
	}
	return gwerr.Code(reply.GetError().GetCode())
}

// wantProfile is the version to reply: that of an older gateway, else ours.
func wantProfile(r *iqv1.ServiceChangeRequest) uint32 {
	if c := r.GetCapabilities(); c != nil && c.GetProfileVersion() < 2 {
		return 1
	}
	return 2
}

func (m *member) register(t *testing.T, id, boot string) {
	t.Helper()
	if code := m.send(t, restart(id, boot)); code != 0 {
		t.Fatalf("%s refused: %d", id, code)
	}
	synctest.Wait()
}

func (m *member) beat(t *testing.T, id, boot string, contexts uint32) *iqv1.HeartbeatReply {
	t.Helper()
	r := m.Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: id, BootId: boot, Contexts: contexts})
	synctest.Wait()
	return r
}

func (m *member) state(id string) State {
	synctest.Wait()
	n, ok := m.Node(id)
	if !ok {
		return "gone"
	}
	return n.State
}
