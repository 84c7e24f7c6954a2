package app

import (
	"context"
	"runtime"

	"github.com/isthmus-gateway/isthmus/mgc/internal/admin"
	"github.com/isthmus-gateway/isthmus/mgc/internal/webphone"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

func (a *App) nodes() []*adminv1.Node {
	var out []*adminv1.Node
	for _, n := range a.pool.Nodes() {
		row := &adminv1.Node{
			MgwId: n.ID, BootId: n.Boot, Address: n.Address, State: string(n.State), Contexts: n.Load.Contexts, CpuPermille: n.Load.CPUPermille,
		}
		for _, r := range n.Realms {
			row.Realms = append(row.Realms, r.Name)
		}
		row.UnavailableRealms = n.Down
		out = append(out, row)
	}
	return out
}

func (a *App) listCalls() []*adminv1.Call {
	var out []*adminv1.Call
	for _, c := range a.calls.List() {
		r := c.Record
		row := &adminv1.Call{
			CallId: r.Key, State: c.State, Direction: "terminating", From: r.Caller, To: r.Callee, MgwId: r.MGW, ContextId: r.Context,
			Owner: a.cfg.Instance, Started: admin.Time(r.Start), AccessCodec: r.AccessCodec, CoreCodec: r.CoreCodec,
			MediaPath: r.MediaPath, MediaPathReason: r.MediaPathReason,
		}
		if r.FromAccess {
			row.Direction = "originating"
		}
		out = append(out, row)
	}
	return out
}

// resources counts what the controller holds.
func (a *App) resources(ctx context.Context) (*adminv1.ControllerResourcesResponse, error) {
	keys, err := a.engine.Count(ctx)
	if err != nil {
		return nil, err
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	servers, clients := a.layer.Len()
	r := &adminv1.ControllerResourcesResponse{
		Calls: uint32(len(a.calls.Keys())), Registrations: uint32(len(a.registrar.All())), Goroutines: uint32(runtime.NumGoroutine()),
		HeapBytes: mem.HeapInuse, StoreKeys: map[string]uint32{}, ServerTransactions: uint32(servers), ClientTransactions: uint32(clients),
	}
	for kind, n := range keys {
		r.StoreKeys[kind] = uint32(n)
	}
	return r, nil
}

// phoneSettings is what the web phone is told; the demo core's accounts only on request, their passwords are public.
func (a *App) phoneSettings() webphone.Settings {
	s := webphone.Settings{Domain: a.cfg.Domain, WSPath: a.cfg.Access.Path, ICEServers: []webphone.ICEServer{}}
	if !a.cfg.Phone.Demo {
		return s
	}
	s.RegistrarHint = "Demo core: choose one of the accounts."
	s.DemoUsers = []webphone.DemoUser{{User: "alice", Password: "wonderland"}, {User: "bob", Password: "builder"}, {User: "carol", Password: "singer"}}
	for _, t := range [][2]string{{"echo", "Echo"}, {"music", "Music and speech"}, {"tone", "Test tone"}, {"callback", "Call me back"}, {"busy", "Busy"}, {"noanswer", "No answer"}} {
		s.DemoTargets = append(s.DemoTargets, webphone.DemoTarget{URI: "sip:" + t[0] + "@" + a.cfg.Domain, Label: t[1]})
	}
	return s
}
