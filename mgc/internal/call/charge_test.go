package call

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/cdr"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// cdrs are the call data records of all instances of a test, in one directory.
type cdrs struct {
	t   *testing.T
	dir string
}

// charged is an instance that writes call data records through the filter.
func (c *cdrs) charged(p *pool, name string, filter func(Recorder) Recorder) *instance {
	c.t.Helper()
	w, err := cdr.Open(cdr.Config{Dir: c.dir, Size: 1 << 20, Age: time.Hour, Queue: 64, Known: 1000, Sync: false}, name, cdr.NewMetrics(prometheus.NewRegistry()), zap.NewNop())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { // after the instance
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			c.t.Error(err)
		}
	})
	var to Recorder = w
	if filter != nil {
		to = filter(w)
	}
	return p.instanceWith(name, func(d *Deps) { d.Records = to })
}

// read returns what a reader of the directory gets, and how many lines were written twice.
func (c *cdrs) read() (out []cdr.Record, twice int) {
	c.t.Helper()
	found, err := cdr.Read(c.dir, func(r cdr.Record) error { out = append(out, r); return nil })
	if err != nil {
		c.t.Fatal(err)
	}
	slices.SortFunc(out, func(a, b cdr.Record) int { return strings.Compare(a.ID, b.ID) })
	return out, found.Duplicates
}

// expect checks the types of a call's records, in order.
func (c *cdrs) expect(want ...cdr.Type) []cdr.Record {
	c.t.Helper()
	got, _ := c.read()
	var types []cdr.Type
	for n, r := range got {
		types = append(types, r.Type)
		if r.Seq != uint32(n+1) {
			c.t.Errorf("record %d has number %d", n+1, r.Seq)
		}
	}
	if !slices.Equal(types, want) {
		c.t.Fatalf("records %v, want %v", types, want)
	}
	return got
}

// holder is a recorder that hands nothing on while it holds, or fails.
type holder struct {
	to Recorder

	mu    sync.Mutex
	held  []func() error // nil: not holding
	holds bool
	fails int // so many more fail with ErrFull
}

func (h *holder) Put(r cdr.Record, done func(error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.fails > 0 && (r.Type == cdr.Stop || r.Type == cdr.Event):
		h.fails--
		return cdr.ErrFull
	case h.holds:
		h.held = append(h.held, func() error { return h.to.Put(r, done) })
		return nil
	}
	return h.to.Put(r, done)
}

func (h *holder) count() int { h.mu.Lock(); defer h.mu.Unlock(); return len(h.held) }

// release hands on what was held.
func (h *holder) release(t *testing.T) {
	h.mu.Lock()
	held := h.held
	h.held, h.holds = nil, false
	h.mu.Unlock()
	for _, f := range held {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
}

func TestCHG01_RecordsOfACall(t *testing.T) {
	p, c := newPool(t), &cdrs{t, t.TempDir()}
	i := c.charged(p, "m1", nil)
	i.mgw.on(func(_ context.Context, _ Node, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
		if kinds(req) != "Subtract" {
			return nil, nil
		}
		reply := answer(req)
		reply.Actions[0].Commands[0].Statistics = []*iqv1.Statistics{{TerminationId: "ip/0", StreamId: 1, PacketsSent: 7}, {TerminationId: "ip/1", StreamId: 1, PacketsSent: 9}}
		return reply, nil
	})
	r := i.establish()
	hold := i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INVITE", holdSDP()), "fa")
	i.expectOut(callcore.LegCore, "INVITE").respond(200, coreSDP(2, "recvonly"))
	i.expectOut(callcore.LegCore, "ACK")
	hold.expect(200)
	i.OnAck(callcore.LegAccess, r.in(callcore.LegAccess, "ACK", ""), "fa")
	i.hangUp(r)
	got := c.expect(cdr.Start, cdr.Interim, cdr.Stop)
	start, interim, stop := got[0], got[1], got[2]
	if start.Call != r.key || start.ICID != r.key || start.Direction != "originating" || start.Calling != "sip:alice@x.example" || start.Called != "sip:carol@x.example" || start.Requested != "sip:carol@x.example" ||
		start.AccessID != "c1" || start.CoreID != r.invite.msg.Get("Call-ID") || start.AccessCodec != "PCMA/8000" || start.MediaPath != "relayed" || start.PathReason != "both sides have PCMA/8000" || start.Status != 200 || start.Request.IsZero() || start.Begin.IsZero() || start.MGW != "g-m1" || start.Context != "cx1" {
		t.Errorf("start %+v", start)
	}
	if m := start.Media; len(m) != 2 || m[0].From != "access" || m[0].Kind != "offer" || m[1].From != "core" || m[1].Kind != "answer" || m[1].Lines[0].Peer != "10.0.0.7:4000" || m[0].Lines[0].Direction != "sendrecv" || m[0].Lines[0].Local != "10.0.0.1:7430" {
		t.Errorf("media %+v", m)
	}
	if m := interim.Media; len(m) != 2 || m[0].Lines[0].Direction != "sendonly" || m[1].Lines[0].Direction != "recvonly" {
		t.Errorf("changed media %+v", m)
	}
	if stop.Cause != string(callcore.CauseHangupAccess) || stop.CauseCode != 0 || stop.End.IsZero() || len(stop.Streams) != 2 || stop.Streams[0].Side != "access" || stop.Streams[0].PacketsSent != 7 || stop.Streams[1].Side != "core" {
		t.Errorf("stop %+v", stop)
	}
}

func TestCHG01_REL07_UnsuccessfulCall(t *testing.T) {
	p, c := newPool(t), &cdrs{t, t.TempDir()}
	i := c.charged(p, "m1", nil)
	m := request("INVITE", coreSDP(1, "sendrecv"))
	m.Set("Route", "<sip:path-bob@mgc.example:5070;lr>")
	m.Add("P-Charging-Vector", `icid-value="abc";icid-generated-at=10.0.0.9;orig-ioi=other`)
	m.Add("P-Asserted-Identity", `"Carol" <sip:carol@other.example>, <tel:+4930>`)
	x := i.ask(callcore.LegCore, m, "")
	i.expectOut(callcore.LegAccess, "INVITE").respond(486, "")
	x.expect(486)
	i.gone()
	got := c.expect(cdr.Event)
	if e := got[0]; e.Direction != "terminating" || e.Status != 486 || e.CauseCode != -486 || e.Cause != string(callcore.CauseRejected) || e.ICID != "abc" || e.ICIDNode != "10.0.0.9" || e.OrigIOI != "other" || e.Calling != "sip:carol@other.example" {
		t.Errorf("event %+v", e)
	}
}

// The record of a call stays until its last call data record is kept.
func TestREL07_RecordStaysUntilTheLastIsKept(t *testing.T) {
	p, c := newPool(t), &cdrs{t, t.TempDir()}
	var h *holder
	i := c.charged(p, "m1", func(r Recorder) Recorder { h = &holder{to: r, fails: 2}; return h })
	r := i.establish()
	h.mu.Lock()
	h.holds = true
	h.mu.Unlock()
	i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa").expect(200)
	i.expectOut(callcore.LegCore, "BYE").respond(200, "")
	wait.Until(t, "the last record is handed over, after it was refused twice", func() bool { return h.count() == 1 })
	if n := len(p.records()); n != 1 {
		t.Errorf("%d calls in the store", n)
	}
	h.release(t)
	i.gone()
	c.expect(cdr.Start, cdr.Stop)
}

// An instance that dies with records which nobody has written is succeeded by one that writes them; what was written is not written again
// for its reader.
func TestREL07_ExactlyOnceOverKillAndAdoption(t *testing.T) {
	for _, lost := range []bool{true, false} {
		t.Run(fmt.Sprint("lost ", lost), func(t *testing.T) {
			p, c := newPool(t), &cdrs{t, t.TempDir()}
			var h *holder
			a := c.charged(p, "a", func(r Recorder) Recorder { h = &holder{to: r, holds: lost}; return h })
			r := a.establish()
			wait.Until(t, "the start is in the call's record", func() bool { return strings.Contains(string(p.records()[0].Value.Beside), `"started":true`) })
			if lost {
				wait.Until(t, "the start is held", func() bool { return h.count() == 1 })
			} else {
				wait.Until(t, "the start is kept", func() bool { got, _ := c.read(); return len(got) == 1 })
			}
			a.kill()
			b := c.charged(p, "b", nil)
			b.hangUp(r)
			got := c.expect(cdr.Start, cdr.Stop)
			if got[1].Instance != "b" || got[0].Instance != map[bool]string{true: "b", false: "a"}[lost] {
				t.Errorf("written by %s and %s", got[0].Instance, got[1].Instance)
			}
			if _, twice := c.read(); lost && twice > 0 {
				t.Errorf("%d lines twice", twice)
			}
		})
	}
}

// hangUpSlowly ends the call from the browser; the MGW answers only when the record knows of the end of both dialogs. So a successor of
// an instance that dies after it finds the call waiting for the MGW.
func (i *instance) hangUpSlowly(r *running) {
	i.t.Helper()
	subtract := make(chan struct{})
	i.mgw.on(func(ctx context.Context, _ Node, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
		select {
		case <-subtract:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa").expect(200)
	i.expectOut(callcore.LegCore, "BYE").respond(200, "")
	wait.Until(i.t, "the end is stored", func() bool {
		list := i.pool.records()
		return len(list) == 1 && strings.Contains(string(list[0].Value.State), `"phase":"ending"`) && !strings.Contains(string(list[0].Value.State), `"clients":{"`)
	})
	close(subtract)
}

// An instance that dies after the last record was written, and before it could delete the call, leaves a successor that ends the call
// again: under the same number.
func TestREL07_SecondEndHasTheSameNumber(t *testing.T) {
	p, f := newFaultyPool(t)
	c := &cdrs{t, t.TempDir()}
	a := c.charged(p, "a", nil)
	r := a.establish()
	release := f.stop("delete")
	a.hangUpSlowly(r)
	wait.Until(t, "the stop is kept and the call is being deleted", func() bool { got, _ := c.read(); return len(got) == 2 && f.waiting.Load() > 0 })
	f.away.Store(true)
	release()
	a.kill()
	f.away.Store(false)
	if n := len(p.records()); n != 1 {
		t.Fatalf("%d calls in the store", n)
	}
	b := c.charged(p, "b", nil)
	b.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1"})
	b.gone()
	c.expect(cdr.Start, cdr.Stop)
	if _, twice := c.read(); twice != 1 {
		t.Errorf("%d lines twice", twice)
	}
}

// A manager that closes does not wait for ever for a writer that cannot write; the call is its successor's.
func TestREL07_CloseDoesNotHang(t *testing.T) {
	p, c := newPool(t), &cdrs{t, t.TempDir()}
	var h *holder
	a := c.charged(p, "a", func(r Recorder) Recorder { h = &holder{to: r}; return h })
	r := a.establish()
	wait.Until(t, "the start is kept", func() bool { got, _ := c.read(); return len(got) == 1 })
	h.mu.Lock()
	h.holds = true
	h.mu.Unlock()
	a.hangUpSlowly(r)
	wait.Until(t, "the stop is held", func() bool { return h.count() == 1 })
	a.kill()
	if n := len(p.records()); n != 1 {
		t.Fatalf("%d calls in the store", n)
	}
	c.expect(cdr.Start)
	b := c.charged(p, "b", nil)
	b.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1"})
	b.gone()
	c.expect(cdr.Start, cdr.Stop)
}

func TestREL07_LostStoreAndHopelessRecord(t *testing.T) {
	k := &keeping{}
	k.add(cdr.Record{Seq: 1})
	k.add(cdr.Record{Seq: 2})
	k.settle(1, cdr.ErrLost) // somebody else will
	k.settle(2, errors.Join(cdr.ErrRecord))
	if left := k.snapshot(); len(left) != 1 || left[1].Seq != 1 {
		t.Errorf("left %v", left)
	}
}

func TestCHG01_RequestsOutsideCalls(t *testing.T) {
	p, c := newPool(t), &cdrs{t, t.TempDir()}
	i := c.charged(p, "m1", nil)
	for n, status := range []int{202, 404} {
		x := i.alone(callcore.LegAccess, request("MESSAGE", ""), "fa")
		i.expectOut(callcore.LegCore, "MESSAGE").respond(status, "")
		x.expect(status)
		wait.Until(t, "the record is kept", func() bool { got, _ := c.read(); return len(got) == n+1 })
	}
	x := i.alone(callcore.LegAccess, request("OPTIONS", ""), "fa") // no service
	i.expectOut(callcore.LegCore, "OPTIONS").respond(200, "")
	x.expect(200)
	i.Close()
	got, _ := c.read()
	slices.SortFunc(got, func(a, b cdr.Record) int { return a.Status - b.Status })
	if len(got) != 2 {
		t.Fatalf("%d records", len(got))
	}
	for n, want := range []int{-1, -404} {
		if r := got[n]; r.Type != cdr.Event || r.Method != "MESSAGE" || r.CauseCode != want || r.Calling != "sip:alice@x.example" || r.Direction != "originating" || r.AccessID != "c1" || r.Role != cdr.RoleOfNode {
			t.Errorf("record %+v", r)
		}
	}
}
