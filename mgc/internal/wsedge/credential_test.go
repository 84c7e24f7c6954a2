package wsedge

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestREG06_CredentialOfTheUpgrade(t *testing.T) {
	var mu sync.Mutex
	bound := map[string]string{}
	r := newRig(t, Config{
		Credential: func(r *http.Request) (string, error) {
			for p := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
				if v, ok := strings.CutPrefix(strings.TrimSpace(p), "token."); ok && v == "bad" {
					return "", errors.New("bad")
				} else if ok {
					return v, nil
				}
			}
			return "", nil
		},
		Bind:         func(flow, credential string) { mu.Lock(); defer mu.Unlock(); bound[flow] = credential },
		OnFlowClosed: func(f siptransport.Flow) { mu.Lock(); defer mu.Unlock(); bound[f.ID] += " closed" },
	}, nil)
	if _, _, status := r.upgrade(t, "Sec-WebSocket-Protocol: token.bad, sip"); !strings.HasPrefix(status, "400") || strings.Contains(status, "token.") {
		t.Errorf("malformed: %s", status)
	}
	c, _, status := r.upgrade(t, "Sec-WebSocket-Protocol: token.abc, sip")
	if status != "101 sip" { // never the entry with the token
		t.Fatalf("handshake: %s", status)
	}
	other := r.mustDial()
	send(t, other, websocket.MessageText, register("m1"))
	flow := wait.Receive(t, r.sink.got).from.ID
	mu.Lock()
	if _, ok := bound[flow]; ok {
		t.Errorf("bound %v", bound)
	}
	mu.Unlock()
	_ = c.Close()
	gone := wait.Receive(t, r.sink.closed).ID
	_ = other.Close(websocket.StatusNormalClosure, "")
	wait.Receive(t, r.sink.closed)
	if err := r.s.Close(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if bound[gone] != "abc closed" {
		t.Errorf("bound %v", bound)
	}
}
