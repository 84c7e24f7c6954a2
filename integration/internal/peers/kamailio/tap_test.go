package kamailio

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
)

// hep builds a packet of chunks {type, value}.
func hep(chunks ...any) []byte {
	p := []byte("HEP3\x00\x00")
	for i := 0; i < len(chunks); i += 2 {
		v := chunks[i+1].(string)
		p = binary.BigEndian.AppendUint16(p, 0)
		p = binary.BigEndian.AppendUint16(p, uint16(chunks[i].(int)))
		p = binary.BigEndian.AppendUint16(p, uint16(6+len(v)))
		p = append(p, v...)
	}
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)))
	return p
}

const request = "MESSAGE sip:bob@h SIP/2.0\r\nCSeq: 7 MESSAGE\r\nto : <sip:bob@h>\r\n\r\nhi\r\n\r\nthere"

func TestHEPCarriesAMessage(t *testing.T) {
	p := hep(hepSrc4, "\x0a\x4d\x00\x01", hepDst4, "\x0a\x4d\x00\x02", hepSrcPort, "\x13\xce", 9, "\x00\x00\x00\x01", hepDstPort, "\x13\xc4", hepPayload, request)
	m, err := parseHEP(p)
	if err != nil {
		t.Fatal(err)
	}
	want := Message{From: netip.MustParseAddrPort("10.77.0.1:5070"), To: netip.MustParseAddrPort("10.77.0.2:5060"), Text: request}
	if m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
	if m.StartLine() != "MESSAGE sip:bob@h SIP/2.0" || m.Header("To") != "<sip:bob@h>" || m.Header("From") != "" || m.Body() != "hi\r\n\r\nthere" {
		t.Errorf("start line %q, To %q, body %q", m.StartLine(), m.Header("To"), m.Body())
	}
}

func TestHEPRefusesWhatIsCutShort(t *testing.T) {
	whole := hep(hepSrcPort, "\x13\xce", hepPayload, request)
	for n := range whole {
		p := append([]byte(nil), whole[:n]...)
		if n >= 6 {
			binary.BigEndian.PutUint16(p[4:], uint16(n)) // the outer length fits, a chunk does not
		}
		if _, err := parseHEP(p); err == nil && n != 6 && n != 6+8 {
			t.Errorf("%d of %d bytes were taken", n, len(whole))
		} else if err != nil && !errors.Is(err, errHEP) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
