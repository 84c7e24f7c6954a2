package audio

import (
	"errors"
	"slices"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// MaxItems bounds what waits in a Player.
const MaxItems = 64

// digitPause is the time between two digits, which receivers need to tell them apart (ITU-T Q.24 table A-1 wants 40 ms).
const digitPause = 60 * time.Millisecond

// digitPatience is how long a digit waits until its listener can be reached: as long as a DTLS handshake may take.
const digitPatience = 10 * time.Second

// PlayerRate is the PCM rate at which a Player feeds an encoder that could do with less, Hz.
const PlayerRate = 16000

const defaultFrame = 20 * time.Millisecond

// ErrQueue tells that too much waits to be played.
var ErrQueue = errors.New("audio: too many signals wait")

// Ending is how a signal ended (H.248.1 §E.1.2, g/sc).
type Ending uint8

// Endings.
const (
	ByItself  Ending = iota // TO: it is over, or its time is
	ByEvent                 // EV
	ByCommand               // SD: another descriptor
	Failed                  // NC: no codec that it can be played with
)

// Item is one signal in a Player's queue.
type Item struct {
	Source *signals.Source // nil: a digit
	Digit  uint8           // its event code, 0..15
	Hold   time.Duration   // how long it is held

	Key     string // equal for items that sound the same
	Keep    bool   // goes on when the next list begins with the same, and when an event comes
	Notify  bool   // its end is to be told
	Name    string // for that
	Request uint64
}

// Done is an Item that has ended.
type Done struct {
	Item
	How Ending
}

// PlayerConfig is what the peer takes. Ptime 0: 20 ms. Bitrate and MaxBitrate: as in Config.
type PlayerConfig struct {
	Dst    codec.Codec // zero: not known yet; time passes, nothing is sent
	Events codec.Codec // telephone events, zero: digits are tones
	Ptime  time.Duration

	Bitrate, MaxBitrate int
}

// Player plays signals one after the other in packets of the peer's codec. Owner: a worker; it allocates only with Aim and Replace and
// for the first frame after. Use NewPlayer; Close it.
type Player struct {
	cfg   PlayerConfig
	queue []Item
	halt  Ending        // of queue[0] when it fades away; ByItself: it does not
	rest  int           // frames of pause before the next digit
	away  bool          // nobody can be reached: digits wait
	late  time.Duration // for so long

	enc   transcode.Encoder // nil: not needed yet, or not possible
	to    transcode.FrameEncoder
	asked transcode.Request
	rate  int // PCM, Hz
	work  *Scratch
	frame []int16 // of it
	keys  *dtmf.Player
	beep  *dtmf.Tones
	held  bool // queue[0] is a digit and being played
	press uint32

	step, eventStep uint32 // ticks of a frame
	ts, eventTS     uint32 // of the next one
	coded           uint32 // after the newest frame encoded
	seq             uint16
	marker          bool

	done []Done
}

// NewPlayer makes a Player with nothing to play, which works in s.
func NewPlayer(s *Scratch) *Player {
	return &Player{cfg: PlayerConfig{Ptime: defaultFrame}, marker: true, work: s}
}

// Aim tells what the peer takes from now on.
func (p *Player) Aim(cfg PlayerConfig) {
	if cfg.Ptime == 0 {
		cfg.Ptime = defaultFrame
	}
	if !cfg.Dst.IsZero() {
		cfg.Ptime = transcode.Ptime(cfg.Dst, cfg.Ptime)
	}
	if cfg == p.cfg {
		return
	}
	p.release()
	if p.held { // begun for the other kind of peer: it is over there
		p.held = false
		p.pop(ByItself)
	}
	p.cfg = cfg
	p.step, p.eventStep = uint32(rtp.Ticks(int64(cfg.Ptime), cfg.Dst.ClockRate)), uint32(rtp.Ticks(int64(cfg.Ptime), cfg.Events.ClockRate))
	p.keys, p.beep, p.marker = nil, nil, true
}

// Ptime is the time between two ticks.
func (p *Player) Ptime() time.Duration { return p.cfg.Ptime }

// Idle reports whether nothing is left to play.
func (p *Player) Idle() bool { return len(p.queue) == 0 }

// Endless reports whether what sounds goes on until it is told to end.
func (p *Player) Endless() bool {
	cur := p.current()
	return cur != nil && cur.Source != nil && cur.Source.Endless()
}

// Audible reports whether what waits needs a codec of audio.
func (p *Player) Audible(items []Item) bool {
	for i := range items {
		if items[i].Source != nil || p.cfg.Events.IsZero() {
			return true
		}
	}
	return false
}

// Replace plays items in the place of what there is. What sounds fades away, unless items begin with the same to be kept; digits that wait
// come first, a list without items drops them. Errors: ErrQueue; then nothing changes.
func (p *Player) Replace(items []Item) error {
	digits := p.digits()
	if len(items) == 0 {
		digits = digits[:min(len(digits), 1)]
		if !p.held {
			digits = nil
		}
	}
	if 1+len(digits)+len(items) > MaxItems {
		return ErrQueue
	}
	var next []Item
	switch cur := p.current(); {
	case cur == nil || cur.Source == nil:
	case len(items) > 0 && len(digits) == 0 && items[0].Keep && items[0].Key == cur.Key && p.halt == ByItself:
		items[0].Source = cur.Source
	default:
		p.fade(ByCommand)
		next = append(next, *cur)
	}
	p.queue = append(append(append(p.queue[:0], next...), digits...), items...)
	p.done = slices.Grow(p.done, len(p.queue))
	return nil
}

// Interrupt ends what sounds because of an event, unless it is to be kept, and drops what waits.
func (p *Player) Interrupt() {
	cur := p.current()
	if cur == nil || cur.Source == nil || cur.Keep || p.halt != ByItself {
		return
	}
	p.fade(ByEvent)
	p.queue = p.queue[:1]
}

// Abandon ends everything at once: the signal cannot be played.
func (p *Player) Abandon() {
	if len(p.queue) > 0 {
		p.pop(Failed)
	}
	p.queue, p.held, p.rest = p.queue[:0], false, 0
}

// Reach tells whether the listener can be reached. Meanwhile the time of sounds goes by; a digit, which is to be heard once, waits 10 s and then
// ends as Failed, with those behind it.
func (p *Player) Reach(ok bool) { p.away = !ok }

// Request tells the encoder which mode the peer wants (RFC 4867 §4.3.1).
func (p *Player) Request(r transcode.Request) {
	p.asked = r
	if p.to != nil {
		p.to.Request(r)
	}
}

// Take returns the oldest signal that has ended and was not taken yet.
func (p *Player) Take() (Done, bool) {
	if len(p.done) == 0 {
		return Done{}, false
	}
	d := p.done[0]
	p.done = append(p.done[:0], p.done[1:]...)
	return d, true
}

// Close frees the encoder.
func (p *Player) Close() { p.release() }

func (p *Player) release() {
	if p.enc != nil {
		p.enc.Close()
	}
	p.enc, p.to = nil, nil
}

func (p *Player) current() *Item {
	if len(p.queue) == 0 {
		return nil
	}
	return &p.queue[0]
}

// digits are those that wait, the one being played first. The slice is the caller's.
func (p *Player) digits() (out []Item) {
	for _, it := range p.queue {
		if it.Source == nil {
			out = append(out, it)
		}
	}
	return out
}

func (p *Player) fade(how Ending) {
	if p.halt == ByItself {
		p.halt = how
	}
	p.queue[0].Source.Stop()
}

// pop ends queue[0].
func (p *Player) pop(how Ending) {
	if p.halt != ByItself && how == ByItself {
		how = p.halt
	}
	p.halt, p.late = ByItself, 0
	if len(p.done) == MaxItems {
		p.done = append(p.done[:0], p.done[1:]...)
	}
	p.done = append(p.done, Done{Item: p.queue[0], How: how})
	copy(p.queue, p.queue[1:])
	p.queue[len(p.queue)-1] = Item{}
	p.queue = p.queue[:len(p.queue)-1]
}

// Tick plays the next frame: the payload goes to out, its length is returned. out: room for transcode.MaxPayload bytes.
func (p *Player) Tick(out []byte) (int, Frame) {
	ts, eventTS := p.ts, p.eventTS
	p.ts, p.eventTS = ts+p.step, eventTS+p.eventStep
	cur := p.current()
	switch {
	case cur == nil:
		return 0, Frame{}
	case p.rest > 0:
		p.rest--
		return 0, Frame{}
	case cur.Source == nil && !p.held && (p.away || p.cfg.Dst.IsZero() && p.cfg.Events.IsZero()):
		if p.late += p.cfg.Ptime; p.late >= digitPatience {
			p.giveUp()
		}
		return 0, Frame{}
	case cur.Source == nil && p.cfg.Events.IsZero():
		return p.tone(ts, out)
	case cur.Source == nil:
		return p.event(ts, eventTS, out)
	}
	if !p.ready() {
		p.pass()
		return 0, Frame{}
	}
	p.fill()
	return p.encode(ts, out)
}

// ready makes the encoder where it is missing; false: nothing can be sent now.
func (p *Player) ready() bool {
	if p.enc != nil {
		return true
	}
	rates := transcode.Rates(p.cfg.Dst)
	if len(rates) == 0 {
		return false
	}
	enc, err := transcode.NewEncoder(p.cfg.Dst, transcode.EncoderConfig{
		Rate: rates[0], Ptime: p.cfg.Ptime, Bitrate: p.cfg.Bitrate, MaxBitrate: p.cfg.MaxBitrate, Scratch: &p.work.codecs,
	})
	if err != nil {
		return false
	}
	p.enc, p.rate, p.coded = enc, rates[0], p.ts-p.step
	if p.to, _ = enc.(transcode.FrameEncoder); p.to != nil {
		p.to.Request(p.asked)
	}
	p.frame = p.work.frame[:rtp.Ticks(int64(p.cfg.Ptime), uint32(p.rate))]
	return true
}

// pass lets the time of a frame go by unheard.
func (p *Player) pass() {
	const rate = 8000
	var unheard [rate / 1000 * 60]int16
	left := unheard[:min(len(unheard), int(rtp.Ticks(int64(p.cfg.Ptime), rate)))]
	for len(p.queue) > 0 && p.queue[0].Source != nil && len(left) > 0 {
		left = left[p.queue[0].Source.Fill(left, rate):]
		if p.queue[0].Source.Over() {
			p.pop(ByItself)
		}
	}
}

// fill writes one frame of the signals that sound; silence comes after the last one, and before a digit.
func (p *Player) fill() {
	left := p.frame
	for len(p.queue) > 0 && p.queue[0].Source != nil && len(left) > 0 {
		left = left[p.queue[0].Source.Fill(left, p.rate):]
		if p.queue[0].Source.Over() {
			p.pop(ByItself)
		}
	}
	clear(left)
}

func (p *Player) encode(ts uint32, out []byte) (int, Frame) {
	if p.to != nil {
		p.to.Skip(ts - p.coded)
		p.coded = ts + p.step
	}
	n, err := p.enc.Encode(p.frame, out)
	if err != nil || n == 0 {
		p.marker = true
		return 0, Frame{}
	}
	speech := p.to == nil || p.to.Speech()
	f := Frame{Kind: Audio, PT: p.cfg.Dst.PT, Marker: p.marker && speech, Seq: p.seq, TS: ts}
	p.marker = !speech
	p.seq++
	return n, f
}

// event plays a digit as telephone events.
func (p *Player) event(ts, eventTS uint32, out []byte) (int, Frame) {
	if p.keys == nil {
		p.keys = dtmf.NewPlayer(p.cfg.Events.ClockRate, p.cfg.Events.ClockRate)
	}
	if !p.held {
		p.held = true
		p.keys.Update(p.pressed(p.cfg.Events.ClockRate))
	}
	kind := Foreign
	if p.cfg.Events.ClockRate == p.cfg.Dst.ClockRate {
		kind, eventTS = Event, ts
	}
	n, s := p.keys.Next(eventTS, p.eventStep, out)
	f := Frame{Kind: kind, PT: p.cfg.Events.PT, Marker: s.Marker, Seq: p.seq, TS: s.TS}
	p.seq++
	p.marker = true
	if !p.keys.Active() {
		p.letGo()
		p.rest = p.gap()
	}
	return n, f
}

// tone plays a digit as sound, with its pause.
func (p *Player) tone(ts uint32, out []byte) (int, Frame) {
	if !p.ready() {
		p.pop(Failed)
		return 0, Frame{}
	}
	if p.beep == nil {
		p.beep = dtmf.NewTones(uint32(p.rate), uint32(p.rate))
	}
	if !p.held {
		p.held = true
		p.beep.Update(p.pressed(uint32(p.rate)))
	}
	p.beep.Fill(p.frame)
	if !p.beep.Active() {
		p.letGo()
	}
	return p.encode(ts, out)
}

// pressed is queue[0] as a press that is over, in ticks of a clock.
func (p *Player) pressed(clock uint32) dtmf.Press {
	p.press++
	return dtmf.Press{ID: p.press, Code: p.queue[0].Digit, Volume: 10, Ticks: uint64(rtp.Ticks(int64(p.queue[0].Hold), clock)), Ended: true}
}

// giveUp ends the digits that wait, all of them: of a number, what is left without its first digits is another number.
func (p *Player) giveUp() {
	for cur := p.current(); cur != nil && cur.Source == nil; cur = p.current() {
		p.pop(Failed)
	}
}

// letGo ends the digit that was played.
func (p *Player) letGo() {
	p.held = false
	p.pop(ByItself)
}

// gap is the frames of pause that the next item needs after a digit.
func (p *Player) gap() int {
	if cur := p.current(); cur == nil || cur.Source != nil {
		return 0
	}
	return int((digitPause + p.cfg.Ptime - 1) / p.cfg.Ptime)
}
