package flow

import (
	"testing"

	pion "github.com/pion/rtcp"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// TestR5506_ReducedSizeEndsHere: what either peer sends alone, without a report before it, is taken, and nothing of it crosses to the other, which may not have
// agreed to such; nor does it make us send anything.
func TestR5506_ReducedSizeEndsHere(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	buf := make([]byte, bufferSize)
	r.w.accessPacket(r.a.access.sock, r.sealed(buf, 8), browserAddr)
	r.c.core.media(2, sipAddr, r.fill(buf, 8))
	r.w.flush()
	for name, of := range map[string]func(ours uint32) pion.Packet{
		"NACK": func(ours uint32) pion.Packet {
			return &pion.TransportLayerNack{SenderSSRC: 77, MediaSSRC: ours, Nacks: []pion.NackPair{{PacketID: 7}}}
		},
		"picture loss": func(ours uint32) pion.Packet { return &pion.PictureLossIndication{SenderSSRC: 77, MediaSSRC: ours} },
		"bandwidth": func(ours uint32) pion.Packet {
			return &pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: 77, Bitrate: 64000, SSRCs: []uint32{ours}}
		},
		"transport-wide": func(ours uint32) pion.Packet {
			return &pion.TransportLayerCC{Header: pion.Header{Count: pion.FormatTCC, Type: pion.TypeTransportSpecificFeedback, Length: 4},
				SenderSSRC: 77, MediaSSRC: ours}
		},
		"VoIP metrics": func(ours uint32) pion.Packet {
			return &pion.ExtendedReport{SenderSSRC: 77, Reports: []pion.ReportBlock{&pion.VoIPMetricsReportBlock{SSRC: ours, RFactor: 77}}}
		},
		"BYE": func(uint32) pion.Packet { return &pion.Goodbye{Sources: []uint32{77}} },
	} {
		t.Run(name, func(t *testing.T) {
			for who, from := range map[string]*term{"the browser": r.a, "the core's peer": r.c} {
				raw, err := of(from.out.stamp.SSRC()).Marshal()
				if err != nil {
					t.Fatal(err)
				}
				refused := from.in.drops[gate.Malformed]
				if b := append(make([]byte, 0, 128), raw...); from == r.a {
					if b, err = r.peerTx.ProtectRTCP(b); err != nil {
						t.Fatal(err)
					}
					r.w.accessPacket(r.a.access.sock, b, browserAddr)
				} else {
					r.w.corePacket(r.c.core, b, sipAddr, true)
				}
				if n := udpio.MaxQueue - r.w.writer.Room(); n != 0 {
					t.Errorf("%d datagrams leave after one of %s", n, who)
				}
				if n := from.in.drops[gate.Malformed] - refused; n != 0 {
					t.Errorf("that of %s is refused", who)
				}
			}
		})
	}
}

// sealed is a packet of the browser as it comes.
func (r *rig) sealed(buf []byte, pt uint8) []byte {
	b, err := r.peerTx.ProtectRTP(r.fill(buf, pt))
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}
