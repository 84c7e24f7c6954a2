package headers

import (
	"fmt"
	"strings"
	"testing"
)

// bigInvite is an INVITE of a browser's size: 2.6 kB with its SDP.
func bigInvite() []byte {
	body := strings.Repeat("a=candidate:1467250027 1 udp 2122260223 192.168.0.196 46243 typ host generation 0\r\n", 24)
	raw := strings.Replace(base, "Content-Length: 4\r\n\r\nv=0\n", "", 1)
	raw += "User-Agent: JsSIP 3.10\r\nAllow: INVITE,ACK,CANCEL,BYE,UPDATE,MESSAGE,OPTIONS,REFER,INFO,NOTIFY\r\nSupported: outbound, ice, gruu\r\n"
	return []byte(raw + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
}

func BenchmarkRead(b *testing.B) {
	raw := bigInvite()
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := Read(raw, Framed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBytes(b *testing.B) {
	m, err := Read(bigInvite(), Framed)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Bytes(); err != nil {
			b.Fatal(err)
		}
	}
}
