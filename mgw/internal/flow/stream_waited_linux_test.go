//go:build linux && !portable

package flow

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// TestStreamPacketsHaveWaitedWhatTheStreamHas: a parcel that becomes full within what a connection brought does not take the rest's time of arrival.
func TestStreamPacketsHaveWaitedWhatTheStreamHas(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	peer := dialTCP(t, l.Addr().(*net.TCPAddr).AddrPort())
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	s, err := udpio.NewStream(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	s.StampArrivals(true)
	var out []byte
	for range parcel + 5 {
		out = append(out, frame([]byte{0x80, 8, 0, 1})...) // of no known source, and short
	}
	w := r.w
	st := &stream{Stream: s, as: r.a.access.sock, from: streamAddr(false, 2)}
	if st.key, err = w.watch(&s.Socket, sockRef{stream: st}); err != nil {
		t.Fatal(err)
	}
	const late = int64(time.Second)
	w.begin()
	for patience := time.Now().Add(10 * time.Second); s.Stamp == 0; { // the kernel begins to stamp a moment after it is asked to
		if _, err := peer.Write(out); err != nil || time.Now().After(patience) {
			t.Fatal("no stamp: ", err)
		}
		for got := 0; got < parcel+5; {
			if n, _, err := w.poll.Wait(5*time.Second, false); n != 1 || err != nil {
				t.Fatal("nothing has come: ", err)
			}
			w.arrivals.most, w.arrivals.wall = late, time.Now().UnixNano()+2*late // what is read has waited for more than a round may take
			got += w.readStream(st)
		}
	}
	if w.waited != late {
		t.Errorf("the last packet has waited for %v, want %v", time.Duration(w.waited), time.Duration(late))
	}
}
