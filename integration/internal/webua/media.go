package webua

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/isthmus-gateway/isthmus/integration/internal/opus"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// audible is the level above which received audio counts as heard, dBFS.
const audible = -45.0

// peer is the WebRTC half of a call: sends a source as 20 ms frames, meters what it hears.
type peer struct {
	pc     *webrtc.PeerConnection
	track  *voice
	codec  string
	source tone.Source
	pauses bool           // nothing is sent once source has run dry
	sink   func([]int16)  // may be nil
	socket net.PacketConn // nil: pion's own
	stop   chan struct{}
	wg     sync.WaitGroup
	start  sync.Once

	presses chan *press // to send; writers: SendDigits callers, who wait

	mu         sync.Mutex // guards what follows
	meter      tone.Meter
	firstAudio time.Time
	heardCodec string
	packets    uint64
	connected  time.Time
	events     events
}

var mimes = map[string]webrtc.RTPCodecParameters{
	"opus": {RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1"}, PayloadType: 111},
	"PCMA": {RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypePCMA, ClockRate: 8000}, PayloadType: 8},
	"PCMU": {RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypePCMU, ClockRate: 8000}, PayloadType: 0},
}

// eventCodecs are telephone-event as browsers have it, by the clock rate of the audio.
var eventCodecs = []webrtc.RTPCodecParameters{
	{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: eventMime, ClockRate: 48000}, PayloadType: 110},
	{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: eventMime, ClockRate: 8000}, PayloadType: 126},
}

// newPeer makes a peer with the codecs in order of preference; it sends source with the first one.
func newPeer(cfg *Config, source tone.Source) (*peer, error) {
	var m webrtc.MediaEngine
	for _, name := range cfg.Codecs {
		c, ok := mimes[name]
		if !ok {
			return nil, fmt.Errorf("webua: unknown codec %q", name)
		}
		if err := m.RegisterCodec(c, webrtc.RTPCodecTypeAudio); err != nil {
			return nil, fmt.Errorf("webua: %w", err)
		}
	}
	if cfg.Events {
		for _, c := range eventCodecs {
			if err := m.RegisterCodec(c, webrtc.RTPCodecTypeAudio); err != nil {
				return nil, fmt.Errorf("webua: %w", err)
			}
		}
	}
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	socket, err := cfg.socket(&se)
	if err != nil {
		return nil, err
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&m), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		if socket != nil {
			_ = socket.Close() // nothing was sent over it
		}
		return nil, fmt.Errorf("webua: %w", err)
	}
	p := &peer{pc: pc, source: source, pauses: cfg.Pauses, sink: cfg.Sink, socket: socket, stop: make(chan struct{}), presses: make(chan *press)}
	pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		p.wg.Add(1)
		defer p.wg.Done()
		p.receive(t)
	})
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			p.mu.Lock()
			if p.connected.IsZero() {
				p.connected = time.Now()
			}
			p.mu.Unlock()
		}
	})
	return p, p.addTrack(cfg.Codecs[0])
}

// socket makes the media socket that Config.Socket wraps and tells pion to use it; nil when there is nothing to wrap.
func (c *Config) socket(se *webrtc.SettingEngine) (net.PacketConn, error) {
	if c.Socket == nil {
		return nil, nil
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("webua: %w", err)
	}
	wrapped := c.Socket(conn)
	se.SetICEUDPMux(webrtc.NewICEUDPMux(nil, wrapped))
	return wrapped, nil
}

func (p *peer) addTrack(name string) error {
	track := newVoice(mimes[name].MimeType)
	if _, err := p.pc.AddTrack(track); err != nil {
		return fmt.Errorf("webua: %w", err)
	}
	p.track, p.codec = track, name
	return nil
}

// offer creates an offer; the gateway is ICE lite, so it goes out without waiting for candidates.
func (p *peer) offer() (string, error) {
	o, err := p.pc.CreateOffer(nil)
	if err != nil {
		return "", fmt.Errorf("webua: offer: %w", err)
	}
	if err := p.pc.SetLocalDescription(o); err != nil {
		return "", fmt.Errorf("webua: offer: %w", err)
	}
	return p.pc.LocalDescription().SDP, nil
}

// reoffer creates a further offer with the direction, which pion has no call for: it is set in the text, as browsers'
// libraries do.
func (p *peer) reoffer(direction string) (string, error) {
	sdp, err := p.offer()
	if err != nil {
		return "", err
	}
	for _, d := range []string{"sendrecv", "sendonly", "recvonly", "inactive"} {
		if line := "\r\na=" + d + "\r\n"; strings.Contains(sdp, line) {
			return strings.Replace(sdp, line, "\r\na="+direction+"\r\n", 1), nil
		}
	}
	return "", errors.New("webua: offer without a direction")
}

// rollback takes back an offer that was refused. pion cannot (RFC 8829 §4.1.10.2), so what the peer described last is taken for
// its answer: nothing changes by it.
func (p *peer) rollback() error {
	last := strings.Replace(p.pc.CurrentRemoteDescription().SDP, "a=setup:actpass", "a=setup:passive", 1)
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: last}); err != nil {
		return fmt.Errorf("webua: rollback: %w", err)
	}
	return nil
}

// answer answers an offer.
func (p *peer) answer(offer string) (string, error) {
	// pion stops a transceiver for good when the peer offers inactive; browsers can be resumed.
	heard := strings.Replace(offer, "\na=inactive\r\n", "\na=sendonly\r\n", 1)
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: heard}); err != nil {
		return "", fmt.Errorf("webua: remote offer: %w", err)
	}
	a, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("webua: answer: %w", err)
	}
	if err := p.pc.SetLocalDescription(a); err != nil {
		return "", fmt.Errorf("webua: answer: %w", err)
	}
	p.begin()
	return mirrored(p.pc.LocalDescription().SDP, offer), nil
}

// mirrored gives the answer the direction that the offer asks for (RFC 3264 §6.1). pion keeps a transceiver at what a hold made
// of it; browsers go back to what the application wants, which here is always sendrecv.
func mirrored(answer, offer string) string {
	want := "sendrecv"
	for offered, mirror := range map[string]string{"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"} {
		if strings.Contains(offer, "\na="+offered+"\r\n") {
			want = mirror
		}
	}
	for _, d := range []string{"sendrecv", "sendonly", "recvonly", "inactive"} {
		answer = strings.Replace(answer, "\r\na="+d+"\r\n", "\r\na="+want+"\r\n", 1)
	}
	return answer
}

// accept applies the answer.
func (p *peer) accept(answer string) error {
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return fmt.Errorf("webua: remote answer: %w", err)
	}
	p.begin()
	return nil
}

// begin starts the sender once.
func (p *peer) begin() {
	p.start.Do(func() {
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			p.send()
		}()
	})
}

// send paces 20 ms frames until close. The codec is that of the sender's negotiated parameters.
func (p *peer) send() {
	enc, err := opus.NewEncoder(tone.Rate)
	if err != nil {
		return
	}
	defer enc.Close()
	tick := time.NewTicker(time.Second / framesPerSecond)
	defer tick.Stop()
	pcm := make([]int16, tone.FrameLen)
	buf := make([]byte, opus.MaxPacket)
	var now *press
	for gap := 0; ; gap-- {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		dry := !p.source.Fill(pcm) // time passes for it during a press as well
		if dry {
			clear(pcm)
		}
		if now == nil && gap <= 0 {
			select {
			case now = <-p.presses:
			default:
			}
		}
		var err error
		if now != nil {
			var over bool
			if over, err = p.track.press(now); over {
				close(now.done)
				now, gap = nil, gapFrames+1
			}
		} else if dry && p.pauses {
			err = p.track.frame(nil)
		} else {
			var frame []byte
			if frame, err = p.encode(enc, buf, pcm); err != nil {
				return
			}
			err = p.track.frame(frame)
		}
		if errors.Is(err, io.ErrClosedPipe) {
			return
		}
	}
}

// encode makes the payload of a frame; it aliases buf.
func (p *peer) encode(enc *opus.Encoder, buf []byte, pcm []int16) ([]byte, error) {
	switch p.codec {
	case "PCMA":
		return tone.ALaw.Encode(buf[:0], pcm), nil
	case "PCMU":
		return tone.MuLaw.Encode(buf[:0], pcm), nil
	}
	n, err := enc.Encode(buf, pcm)
	return buf[:n], err
}

// receive meters one remote track until it ends.
func (p *peer) receive(t *webrtc.TrackRemote) {
	dec, err := opus.NewDecoder(tone.Rate)
	if err != nil {
		return
	}
	defer dec.Close()
	pcm := make([]int16, 6*tone.FrameLen)
	for {
		pkt, _, err := t.ReadRTP()
		if err != nil {
			return
		}
		if c := t.Codec(); strings.EqualFold(c.MimeType, eventMime) {
			p.mu.Lock()
			p.events.take(pkt, c.ClockRate)
			p.mu.Unlock()
			continue
		}
		n := 0
		switch pkt.PayloadType {
		case 8:
			n = len(tone.ALaw.Decode(pcm[:0], pkt.Payload))
		case 0:
			n = len(tone.MuLaw.Decode(pcm[:0], pkt.Payload))
		case 111:
			n, _ = dec.Decode(pcm, pkt.Payload) // a broken packet is silence to the meter
		}
		p.heard(pcm[:n], t.Codec().MimeType)
	}
}

func (p *peer) heard(pcm []int16, mime string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.packets++
	p.heardCodec = strings.TrimPrefix(mime, "audio/")
	if p.firstAudio.IsZero() && tone.Level(pcm) > audible {
		p.firstAudio = time.Now()
	}
	p.meter.Write(pcm)
	if p.sink != nil {
		p.sink(pcm)
	}
}

// close ends the peer and waits.
func (p *peer) close() {
	select {
	case <-p.stop:
		return
	default:
	}
	close(p.stop)
	_ = p.pc.GracefulClose() // nothing can be done about it
	if p.socket != nil {
		_ = p.socket.Close()
	}
	p.wg.Wait()
}
