package call

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/cdr"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Call data records are taken from the state after each event: one when the call is answered, one when its media change, one when it is
// over (CHG-01). The number of a record is in the store before the record is written, and the record itself stays there until
// the writer has kept it, so that a successor writes the same ones under the same names. The call's own record is deleted only after its last
// call data record is kept.

// keeping are the call data records that are not known to be kept. Safe for concurrent use.
type keeping struct {
	mu     sync.Mutex // guards below
	left   map[uint32]cdr.Record
	queued map[uint32]bool // with the writer
	moved  chan struct{}   // closed and replaced when left or queued change
}

func (k *keeping) restore(left map[uint32]cdr.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left = maps.Clone(left)
}

func (k *keeping) snapshot() map[uint32]cdr.Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.left)
}

func (k *keeping) add(r cdr.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left == nil {
		k.left = map[uint32]cdr.Record{}
	}
	k.left[r.Seq] = r
}

// settle notes what became of a record that the writer had: kept, hopeless, or to be written by whoever comes after us.
func (k *keeping) settle(seq uint32, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil || errors.Is(err, cdr.ErrRecord) {
		delete(k.left, seq)
	}
	delete(k.queued, seq)
	k.signalLocked()
}

// put hands the records that the writer does not have to it, in order.
func (k *keeping) put(to Recorder) error {
	var first error
	for _, seq := range slices.Sorted(maps.Keys(k.snapshot())) {
		k.mu.Lock()
		r, ok := k.left[seq]
		ok = ok && !k.queued[seq]
		if ok {
			if k.queued == nil {
				k.queued = map[uint32]bool{}
			}
			k.queued[seq] = true
		}
		k.mu.Unlock()
		if !ok {
			continue
		}
		if err := to.Put(r, func(err error) { k.settle(seq, err) }); err != nil {
			k.settle(seq, err)
			if first == nil {
				first = err
			}
			if errors.Is(err, cdr.ErrFull) && r.Type != cdr.Stop && r.Type != cdr.Event { // counted there; the last one is what matters
				k.settle(seq, cdr.ErrRecord)
			}
		}
	}
	return first
}

func (k *keeping) signalLocked() {
	if k.moved != nil {
		close(k.moved)
		k.moved = nil
	}
}

// idle returns nil when all is kept, else a channel that is closed when something moves. stuck: what is left is not with the writer.
func (k *keeping) idle() (moved <-chan struct{}, stuck bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.left) == 0 {
		return nil, false
	}
	if k.moved == nil {
		k.moved = make(chan struct{})
	}
	return k.moved, len(k.queued) == 0
}

// charge takes the call data records that are due; true when there are new ones.
func (o *owner) charge() bool {
	if o.m.deps.Records == nil {
		return false
	}
	f, r := o.state.Facts(), o.state.Record()
	media := ""
	if f.Settled {
		media = digest(mediaFacts(&f))
	}
	n := o.side.CDR.Seq
	if !r.Answer.IsZero() && (f.Settled || f.Over) {
		if t, seq, ok := o.side.CDR.Answered(); ok {
			o.side.Charged = media
			o.keep.add(o.cdrOf(&f, &r, t, seq, r.Answer))
		}
	}
	if f.Settled && media != o.side.Charged {
		if t, seq, ok := o.side.CDR.Changed(); ok {
			o.side.Charged = media
			o.keep.add(o.cdrOf(&f, &r, t, seq, time.Now()))
		}
	}
	if o.ended {
		if t, seq, ok := o.side.CDR.Ended(); ok {
			o.keep.add(o.cdrOf(&f, &r, t, seq, r.End))
		}
	}
	return o.side.CDR.Seq != n
}

// write hands new records to the writer, after their numbers are in the store. A call that another instance has is its to charge.
func (o *owner) write() {
	if !o.ended && !o.m.cfg.Alone {
		ctx, cancel := context.WithTimeout(o.m.ctx, 2*time.Second)
		err := o.journal.Sync(ctx)
		cancel()
		if errors.Is(err, store.ErrConflict) {
			o.lost = true
			return
		}
	}
	if err := o.keep.put(o.m.deps.Records); err != nil {
		o.log.Warn("call data record is not taken", zap.Error(err))
	}
}

// closing is how long a manager that closes waits for records to be kept.
const closing = 2 * time.Second

// kept waits until all call data records are kept; false when the manager closes before: a successor writes them.
func (o *owner) kept() bool {
	if o.m.deps.Records == nil {
		return true
	}
	var end <-chan time.Time
	done := o.m.ctx.Done()
	for pause := 100 * time.Millisecond; ; {
		moved, stuck := o.keep.idle()
		if moved == nil {
			return true
		}
		var again <-chan time.Time
		if stuck {
			again = time.After(pause)
			pause = min(2*pause, 5*time.Second)
		}
		select {
		case <-moved:
		case <-again:
			_ = o.keep.put(o.m.deps.Records) // counted there, tried again
		case <-done:
			done, end = nil, time.After(closing)
		case <-end:
			o.log.Warn("call data records are left to a successor")
			return false
		}
	}
}

// cdrOf fills in a call data record from what is known of the call.
func (o *owner) cdrOf(f *callcore.Facts, r *callcore.Record, t cdr.Type, seq uint32, at time.Time) cdr.Record {
	v := o.vector(f)
	out := cdr.Record{
		Call: o.key, Seq: seq, Type: t, Time: at, Method: "INVITE", Direction: "originating",
		ICID: v.ICID, ICIDNode: v.Node, OrigIOI: v.OrigIOI, TermIOI: v.TermIOI, SessionID: f.Invite.Get("Session-ID"),
		AccessID: r.CallIDs[callcore.LegAccess], CoreID: r.CallIDs[callcore.LegCore], Calling: o.calling(f, r), Called: r.Callee, Requested: f.Invite.RequestURI,
		AccessInfo: o.side.ANI, Emergency: f.Emergency, Request: r.Start, Begin: r.Answer, Status: r.Status,
		AccessCodec: r.AccessCodec, CoreCodec: r.CoreCodec, MediaPath: r.MediaPath, PathReason: r.MediaPathReason, MGW: r.MGW, Context: r.Context,
	}
	if f.Caller == callcore.LegCore {
		out.Direction = "terminating"
		if v.TermIOI == "" {
			out.TermIOI = v.Response(o.m.cfg.Trust.OrigIOI).TermIOI
		}
	} else if v.OrigIOI == "" {
		out.OrigIOI = o.m.cfg.Trust.OrigIOI
	}
	if ue := o.whereIsUE(); ue.IsValid() {
		out.UserAddress = ue.String()
	}
	if out.AccessInfo == "" {
		out.AccessInfo = o.m.cfg.Trust.AccessInfo
	}
	if t == cdr.Start || t == cdr.Interim {
		out.Media = mediaRecords(f, at)
		return out
	}
	out.End, out.Cause, out.Reason, out.Impaired = r.End, string(r.Cause), r.Reason, r.Impaired
	if !r.Answer.IsZero() {
		out.DurationMS = max(0, r.End.Sub(r.Answer).Milliseconds())
	}
	byUser := r.Cause == callcore.CauseHangupAccess || r.Cause == callcore.CauseHangupCore
	out.CauseCode = cdr.CauseCode(!r.Answer.IsZero(), byUser, r.Status)
	for _, s := range r.Statistics {
		side := callcore.LegCore
		if s.GetTerminationId() == f.Terms[callcore.LegAccess] {
			side = callcore.LegAccess
		}
		out.Streams = append(out.Streams, cdr.StreamOf(side.String(), s))
	}
	return out
}

// calling is who calls: the asserted identity, else From.
func (o *owner) calling(f *callcore.Facts, r *callcore.Record) string {
	asserted := f.Invite.Get("P-Asserted-Identity")
	if f.Caller == callcore.LegAccess { // what a browser says of itself is not asserted
		asserted = ""
		for _, field := range f.Asserted {
			if asserted == "" && strings.EqualFold(field.Name, "P-Asserted-Identity") {
				asserted = field.Value
			}
		}
	}
	if values := headers.List(&headers.Msg{Fields: []headers.Field{{Name: "P-Asserted-Identity", Value: asserted}}}, "P-Asserted-Identity"); asserted != "" && len(values) > 0 {
		if uri := uriOf(values[0]); uri != "" {
			return uri
		}
	}
	return r.Caller
}

// mediaFacts is what makes media others than before: who describes what on each side.
func mediaFacts(f *callcore.Facts) (out [2]sideMedia) {
	for l := range out {
		s := &f.Sides[l]
		out[l] = sideMedia{Chosen: formatOf(s.Chosen), Dir: s.Dir, Lines: s.Lines}
		if callcore.Leg(l) == callcore.LegCore {
			out[l].Remote = s.Remote.String()
		}
		for _, x := range s.Further {
			m := sideMedia{Chosen: formatOf(x.Chosen), Dir: x.Dir}
			if callcore.Leg(l) == callcore.LegCore {
				m.Remote = x.Remote.String()
			}
			out[l].Further = append(out[l].Further, m)
		}
	}
	return out
}

type sideMedia struct {
	Chosen string
	Dir    sdp.Direction
	Lines  []callcore.Line
	Remote string

	Further []sideMedia `json:",omitempty"` // absent of one stream, as before
}

// mediaRecords are the descriptions as they were negotiated, those of the peers.
func mediaRecords(f *callcore.Facts, at time.Time) []cdr.Media {
	var out []cdr.Media
	for _, l := range []callcore.Leg{f.Caller, f.Caller.Other()} {
		m := cdr.Media{Time: at.UTC(), From: l.String(), Kind: "offer"}
		if l != f.Caller {
			m.Kind = "answer"
		}
		for i, line := range f.Sides[l].Lines {
			r := cdr.Line{Number: i + 1, Type: line.Type, Refused: !line.Used}
			if s := f.Sides[l].At(i); s != nil {
				r.Direction, r.Codecs = s.Dir.Reverse().String(), formats(s.Theirs)
				r.Bandwidth = int(bandwidth([]codec.Codec{s.Chosen}, s.Local.Addr()) / 1000)
				r.Local = s.Local.String()
				peer := s.Remote
				if l == callcore.LegAccess {
					peer = f.Pair.Remote
				}
				if peer.IsValid() {
					r.Peer = peer.String()
				}
			}
			m.Lines = append(m.Lines, r)
		}
		out = append(out, m)
	}
	return out
}

func formats(list []codec.Codec) []string {
	var out []string
	for _, c := range list {
		out = append(out, formatOf(c))
	}
	return out
}
