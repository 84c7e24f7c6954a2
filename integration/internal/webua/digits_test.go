package webua

import (
	"testing"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// tape keeps the packets of a voice.
type tape struct {
	webrtc.TrackLocalContext
	packets []rtp.Packet
}

func (t *tape) ID() string                           { return "tape" }
func (t *tape) SSRC() webrtc.SSRC                    { return 5 }
func (t *tape) WriteStream() webrtc.TrackLocalWriter { return t }
func (t *tape) Write([]byte) (int, error)            { panic("raw packet") }
func (t *tape) RTCPReader() interceptor.RTCPReader   { return nil }
func (t *tape) CodecParameters() []webrtc.RTPCodecParameters {
	return append([]webrtc.RTPCodecParameters{mimes["opus"]}, eventCodecs...)
}

func (t *tape) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	t.packets = append(t.packets, rtp.Packet{Header: *h, Payload: append([]byte(nil), payload...)})
	return len(payload), nil
}

// A press keeps the timestamp of its beginning at the clock of the audio, counts its duration up, ends three times, and the audio after it goes on where
// it would have been (RFC 4733 §2.5.1); who hears it takes it for one.
func TestPress(t *testing.T) {
	tp := &tape{}
	v := newVoice(webrtc.MimeTypeOpus)
	if _, err := v.Bind(tp); err != nil {
		t.Fatal(err)
	}
	frame := func() {
		if err := v.frame([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	press := func(code byte) {
		for p := (&press{code: code}); ; {
			over, err := v.press(p)
			if err != nil {
				t.Fatal(err)
			}
			if over {
				return
			}
		}
	}
	frame()
	press(7)
	frame()
	press(7)
	var heard events
	first := tp.packets[0]
	for i, p := range tp.packets {
		if p.SSRC != 5 || p.SequenceNumber != first.SequenceNumber+uint16(i) {
			t.Errorf("packet %d: %+v", i, p.Header)
		}
		if p.PayloadType == 110 {
			heard.take(&p, 48000)
		}
	}
	if len(tp.packets) != 2+2*(pressFrames+endRepeats-1) || heard.digits != "77" || !heard.ended || heard.unended != 0 || heard.clock != 48000 {
		t.Fatalf("%d packets, heard %+v", len(tp.packets), heard)
	}
	begin, end, after := tp.packets[1], tp.packets[7], tp.packets[8]
	if !begin.Marker || begin.Timestamp != first.Timestamp+960 || end.Timestamp != begin.Timestamp || end.Payload[1] != 0x80|eventVolume ||
		end.Payload[2] != 0x12 || end.Payload[3] != 0xc0 || after.PayloadType != 111 || after.Timestamp != begin.Timestamp+5*960 {
		t.Errorf("begin %+v, end %+v % x, after %+v", begin.Header, end.Header, end.Payload, after.Header)
	}
}

// A press without an end, and what is no event, are told.
func TestEventsAreJudged(t *testing.T) {
	var e events
	for _, p := range []rtp.Packet{
		{Header: rtp.Header{Timestamp: 100}, Payload: []byte{1, 10, 0, 160}},
		{Header: rtp.Header{Timestamp: 900}, Payload: []byte{1, 10, 0, 160}},
		{Header: rtp.Header{Timestamp: 900}, Payload: []byte{1, 0x8a, 0, 160}},
		{Header: rtp.Header{Timestamp: 1700}, Payload: []byte{99, 10, 0, 160}},
	} {
		e.take(&p, 8000)
	}
	if e.digits != "11?" || e.unended != 1 {
		t.Errorf("%+v", e)
	}
}
