package flow

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// scene is a stage with one talker: what the other end hears of it.
type scene struct {
	*stage
	t      *testing.T
	from   *term
	talk   *tone
	edit   func(p rtp.Packet) // of what the talker sends
	end    int                // that listens
	access Settings
	core   Settings
	sent   int
	mark   bool // the next packet begins a talk spurt, as its sender says
}

// ways are a call's two directions, relayed and transcoded.
var ways = []struct {
	name       string
	transcoded bool
	end        int
}{{"relayed to the core", false, coreEnd}, {"relayed to the browser", false, browserEnd}, {"transcoded to the core", true, coreEnd}, {"transcoded to the browser", true, browserEnd}}

func newScene(t *testing.T, transcoded bool, end int) *scene {
	t.Helper()
	browser := pcma
	if transcoded {
		browser = opus
	}
	x := &scene{t: t, end: end, access: both(SendRecv, []codec.Codec{browser, pcmu, ev48}, browser, codec.Codec{}), core: both(SendRecv, []codec.Codec{pcma, pcmu, opus}, pcma, codec.Codec{})}
	x.stage = newStage(t, x.access, x.core)
	x.from, x.talk = x.a, newTone(t, browser, 440, 0xbb)
	if end == browserEnd {
		x.from, x.talk = x.c, newTone(t, pcma, 440, 0xcc)
	}
	return x
}

// run lets the talker speak for n packets of 20 ms.
func (x *scene) run(n int) {
	x.t.Helper()
	for range n {
		x.speak(x.from, x.next())
		x.sent++
		x.step()
	}
}

func (x *scene) next() []byte {
	p := x.talk.next()
	rtp.Packet(p).SetMarker(x.mark)
	x.mark = false
	if x.edit != nil {
		x.edit(p)
	}
	return p
}

// pause lets time pass in which the talker is silent and its clock stands still.
func (x *scene) pause(n int) {
	x.t.Helper()
	for range n {
		x.step()
	}
	x.mark = true
}

// offset moves what the talker sends from now on.
func (x *scene) offset(ssrc uint32, seq uint16, ts uint32) {
	before := x.edit
	x.edit = func(p rtp.Packet) {
		if before != nil {
			before(p)
		}
		if ssrc != 0 {
			p.SetSSRC(ssrc)
		}
		p.SetSeq(p.Seq() + seq)
		p.SetTS(p.TS() + ts)
	}
}

// set changes the settings of both sides.
func (x *scene) set(access, core Settings) {
	x.t.Helper()
	if x.a.configure(x.now, access) != nil || x.c.configure(x.now, core) != nil {
		x.t.Fatal("refused")
	}
}

// modes changes who may be heard.
func (x *scene) modes(access, core Mode) {
	x.t.Helper()
	a, c := x.access, x.core
	a.Mode, c.Mode = access, core
	x.set(a, c)
}

// listener is the settings of who hears.
func (x *scene) listener() *Settings {
	if x.end == coreEnd {
		return &x.core
	}
	return &x.access
}

// formats are those of the scenes, by payload type.
var formats = map[uint8]codec.Codec{pcma.PT: pcma, pcmu.PT: pcmu, opus.PT: opus}

// clock is that of a packet, Hz.
func clock(p rtp.Packet) float64 { return float64(formats[p.PT()].ClockRate) }

// timeline is what was heard, at 8 kHz, laid out by the timestamps; silence where there was nothing. Packets of 20 ms except by the decoder's word.
func (x *scene) timeline() (pcm []int16) {
	x.t.Helper()
	decs := map[uint8]transcode.Decoder{}
	var buf [8000]int16
	all := x.all[x.end]
	at := 0.0
	for i, p := range all {
		dec := decs[p.PT()]
		if dec == nil {
			var err error
			if dec, err = transcode.NewDecoder(formats[p.PT()], 8000); err != nil {
				x.t.Fatalf("payload type %d: %v", p.PT(), err)
			}
			x.t.Cleanup(dec.Close)
			decs[p.PT()] = dec
		}
		n, err := dec.Decode(p.Payload(), buf[:])
		if err != nil {
			x.t.Fatal(err)
		}
		if i > 0 {
			at += float64(p.TS()-all[i-1].TS()) * 8000 / clock(p.Packet)
		}
		if need := int(at) + n; need > len(pcm) {
			pcm = append(pcm, make([]int16, need-len(pcm))...)
		}
		copy(pcm[int(at):], buf[:n])
	}
	return pcm
}

// quiet is how many ms of pcm between its first and last sound are silent.
func quiet(pcm []int16) (ms int) {
	held := 0
	for len(pcm) >= 80 {
		sum := 0.0
		for _, v := range pcm[:80] {
			sum += float64(v) * float64(v)
		}
		pcm = pcm[80:]
		if math.Sqrt(sum/80) > 8000/math.Sqrt2/4 {
			ms, held = ms+held, 0
		} else {
			held += 10
		}
	}
	return ms
}

// click is the largest level above 3 kHz in any 4 ms, root mean square: a tone of 440 Hz has none, coding noise some tens, a cut of it hundreds.
func click(pcm []int16) (worst float64, at int) {
	const reach, window = 24, 32
	var taps [2*reach + 1]float64
	for i := range taps {
		k, h := float64(i-reach), 0.25
		if k != 0 {
			h = -math.Sin(0.75*math.Pi*k) / (math.Pi * k)
		}
		taps[i] = h * (0.5 + 0.5*math.Cos(math.Pi*k/(reach+1)))
	}
	sum, ring := 0.0, [window]float64{}
	for i := reach; i+reach < len(pcm); i++ {
		y := 0.0
		for k, h := range taps {
			y += h * float64(pcm[i-reach+k])
		}
		sum += y*y - ring[i%window]
		ring[i%window] = y * y
		if v := math.Sqrt(max(0, sum) / window); v > worst {
			worst, at = v, i
		}
	}
	return worst, at
}

const clickLimit = 120

// heard checks the stream as a whole: timestamps follow the time, markers stand where a talk spurt begins and only there. starts: how many times
// one may begin, the first included.
func (x *scene) heard(starts, silent int, transcoded bool) {
	x.t.Helper()
	marks, drift := 0, 0.0
	all := x.all[x.end]
	for i, p := range all {
		if p.Marker() {
			marks++
		}
		if i == 0 {
			if !p.Marker() {
				x.t.Error("the first packet is not marked")
			}
			continue
		}
		q := all[i-1]
		media, passed := float64(rtp.TSDiff(p.TS(), q.TS()))/clock(p.Packet), float64(p.at-q.at)/1e9
		drift += media - passed
		if math.Abs(media-passed) > 0.1 {
			x.t.Errorf("packet %d: %.3f s of media after %.3f s", i, media, passed)
		}
		if media > 0.1 && !p.Marker() {
			x.t.Errorf("packet %d after %.3f s is not marked", i, media)
		}
	}
	if math.Abs(drift) > 0.08 {
		x.t.Errorf("timestamps are %.3f s off the time at the end", drift)
	}
	if marks > starts || marks < 1 {
		x.t.Errorf("%d packets are marked, %d talk spurts", marks, starts)
	}
	pcm := x.timeline()
	if transcoded {
		silent += 80 // it takes the pipeline's delay to begin anew
	}
	if q := quiet(pcm); q > silent {
		x.t.Errorf("%d ms of silence, not %d", q, silent)
	}
	if !transcoded {
		return
	}
	if c, at := click(append(append(make([]int16, 80), pcm...), make([]int16, 80)...)); c > clickLimit {
		x.t.Errorf("a click of %.0f at %d ms", c, at/8-10)
	}
}

// Whatever happens to a call, each peer's stream goes on: one SSRC, numbers without a gap (the stage checks both with every packet), time
// that goes on with the time, markers at the begin of talk spurts, no silence that the event does not cost, and no click in what we code.
func TestContinuityOfTheStreamToAPeer(t *testing.T) {
	for _, e := range []struct {
		name   string
		starts int  // talk spurts at most, relayed and transcoded
		silent int  // ms at most
		drops  int  // packets of the source that may be refused
		relays bool // nothing of it is transcoded where nothing else is: the packets can be counted
		do     func(x *scene)
	}{
		{"nothing", 1, 0, 0, true, func(x *scene) {}},
		{"numbers forward", 2, 80, 1, true, func(x *scene) { x.offset(0, 20000, 0) }},
		{"numbers back", 2, 80, 1, true, func(x *scene) { x.offset(0, 40000, 0) }},
		{"clock forward", 2, 60, 0, true, func(x *scene) { x.offset(0, 0, 1<<28) }},
		{"clock back", 2, 60, 0, true, func(x *scene) { x.offset(0, 0, 1<<32-1<<28) }},
		{"numbers and clock", 2, 80, 1, true, func(x *scene) { x.offset(0, 40000, 1<<28) }},
		{"other SSRC", 2, 60, 0, true, func(x *scene) { x.offset(7, 999, 1<<30) }},
		{"SSRC of our own stream to it", 2, 60, 0, true, func(x *scene) { x.offset(x.from.out.stamp.SSRC(), 5, 9) }},
		{"SSRC of our stream to the other", 2, 60, 0, true, func(x *scene) { x.offset(x.from.partner.out.stamp.SSRC(), 5, 9) }},
		{"SSRC of the other source", 2, 60, 0, true, func(x *scene) {
			if x.end == coreEnd {
				x.speak(x.c, newTone(x.t, pcma, 700, 0xdd).next())
			} else {
				x.speak(x.a, newTone(x.t, x.access.Send, 700, 0xdd).next())
			}
			x.offset(0xdd, 5, 9)
		}},
		{"pause of 3 s, its clock goes on", 2, 3000, 0, true, func(x *scene) { x.pause(150); x.offset(0, 0, 3*x.talk.codec.ClockRate) }},
		{"pause of 3 s, its clock stands still", 2, 3000, 0, true, func(x *scene) { x.pause(150) }},
		{"pause of 300 ms", 2, 340, 0, true, func(x *scene) { x.pause(15); x.offset(0, 0, x.talk.codec.ClockRate*3/10) }},
		{"held by the listener, the talker speaks on", 2, 2000, 100, true, func(x *scene) {
			if x.end == coreEnd {
				x.modes(SendRecv, RecvOnly)
			} else {
				x.modes(RecvOnly, SendRecv)
			}
			x.run(100)
			x.set(x.access, x.core)
		}},
		{"inactive, the talker speaks on", 2, 2000, 100, true, func(x *scene) { x.modes(Inactive, Inactive); x.run(100); x.set(x.access, x.core) }},
		{"inactive for 70 s, the talker speaks on", 2, 70000, 3500, true, func(x *scene) { x.modes(Inactive, Inactive); x.run(3500); x.set(x.access, x.core) }},
		{"inactive, the talker is silent", 2, 2000, 0, true, func(x *scene) { x.modes(Inactive, Inactive); x.pause(100); x.set(x.access, x.core) }},
		{"the same description again", 1, 0, 0, true, func(x *scene) { x.set(x.access, x.core) }},
		{"another codec is offered", 2, 60, 0, false, func(x *scene) {
			x.listener().Send = pcmu // the talker keeps its own
			x.set(x.access, x.core)
		}},
		{"packets of 60 ms, and of 20 again", 3, 120, 0, true, func(x *scene) {
			x.listener().Ptime = 60 * time.Millisecond
			x.set(x.access, x.core)
			x.run(60)
			x.listener().Ptime = 0
			x.set(x.access, x.core)
		}},
		{"another agreed codec without warning, and back", 3, 120, 0, false, func(x *scene) {
			first := x.talk
			x.talk = newTone(x.t, pcmu, 440, first.ssrc)
			x.talk.seq, x.talk.n = first.seq, first.n
			x.run(50)
			first.seq, first.n = x.talk.seq, x.talk.n
			x.talk = first
		}},
		{"fork: another branch takes over", 2, 100, 0, false, func(x *scene) {
			if x.end == coreEnd {
				return // there the new branch is a stream of its own
			}
			branch := x.branch()
			x.c.disconnect()
			if err := connect(x.a, branch); err != nil {
				x.t.Fatal(err)
			}
			x.from = branch
			x.talk = newTone(x.t, pcma, 440, 0xcc) // the same SSRC, numbers from the begin
			x.talk.n = 5
		}},
	} {
		for _, w := range ways {
			if w.transcoded && !transcode.Supported(opus) {
				continue
			}
			t.Run(fmt.Sprintf("%s, %s", e.name, w.name), func(t *testing.T) {
				x := newScene(t, w.transcoded, w.end)
				x.run(75)
				e.do(x)
				from := x.from
				x.run(75)
				x.pause(8)
				if x.end == coreEnd && x.core.Send == pcmu || x.end == browserEnd && x.access.Send == pcmu {
					if p := x.last[x.end]; p.PT() != pcmu.PT {
						t.Errorf("payload type %d", p.PT())
					}
				}
				drops := uint64(0)
				for _, n := range from.in.drops {
					drops += n
				}
				if int(drops) > e.drops {
					t.Errorf("%d packets refused: %v", drops, from.in.drops.Map())
				}
				if !w.transcoded && e.relays {
					if got := len(x.all[x.end]); got != x.sent-int(drops) {
						t.Errorf("%d packets sent, %d refused, %d heard", x.sent, drops, got)
					}
				}
				x.heard(e.starts, e.silent, w.transcoded)
			})
		}
	}
}

// branch is another core termination of the context, as an early dialog has.
func (x *scene) branch() *term {
	x.t.Helper()
	b := &term{w: x.w}
	b.out = outbound{consent: true, stamp: newStamper(3), sock: x.c.out.sock}
	co := &Core{w: x.w, id: "c2", cname: "c2"}
	b.owner = co
	b.core = &coreState{t: b, c: co, rtp: x.c.core.rtp, rtcp: x.c.core.rtcp}
	co.s = b.core
	_ = b.core.setRemote(0, CoreRemote{RTP: sipAddr})
	if err := b.configure(x.now, x.core); err != nil {
		x.t.Fatal(err)
	}
	x.w.join(b)
	x.t.Cleanup(func() {
		if b.to != nil {
			b.to.end()
		}
	})
	return b
}
