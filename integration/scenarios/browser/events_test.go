package browser

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
)

const accessPort = 7430 // first of the MGW's towards browsers

// eventTap counts telephone-events on their way to the browser. Their digits are encrypted, the RTP headers are not (RFC 3711 §3.1).
type eventTap struct {
	fd   int
	done sync.WaitGroup

	mu     sync.Mutex                // guards what follows
	events map[uint8]map[uint32]bool // timestamps by payload type
}

func (p *party) tapEvents() *eventTap {
	p.t.Helper()
	const all = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // big-endian
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
	p.ok(err)
	a := &eventTap{fd: fd, events: map[uint8]map[uint32]bool{}}
	p.ok(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: 1})) // the loopback interface
	p.ok(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}))
	stop := make(chan struct{})
	a.done.Go(func() { a.read(stop) })
	p.t.Cleanup(func() {
		close(stop)
		a.done.Wait()
		_ = unix.Close(fd)
	})
	return a
}

func (a *eventTap) read(stop chan struct{}) {
	buf := make([]byte, 4096)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, err := unix.Read(a.fd, buf)
		if err == nil {
			a.take(buf[:n])
		} else if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// take notes an IPv4 packet if it is RTP from the gateway.
func (a *eventTap) take(ip []byte) {
	if len(ip) < 20 || ip[0]>>4 != 4 || ip[9] != syscall.IPPROTO_UDP {
		return
	}
	head := int(ip[0]&15) * 4
	if len(ip) < head+8+12 {
		return
	}
	udp := ip[head:]
	port, rtp := int(udp[0])<<8|int(udp[1]), udp[8:]
	if port < accessPort || port > accessPort+9 || rtp[0]>>6 != 2 || rtp[1]&0x7f >= 64 && rtp[1]&0x7f < 96 { // RTCP (RFC 5761 §4)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	pt := rtp[1] & 0x7f
	if a.events[pt] == nil {
		a.events[pt] = map[uint32]bool{}
	}
	a.events[pt][uint32(rtp[4])<<24|uint32(rtp[5])<<16|uint32(rtp[6])<<8|uint32(rtp[7])] = true
}

// count is the number of events of a payload type so far: packets of one have the timestamp of its beginning.
func (a *eventTap) count(pt uint8) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.events[pt])
}

var eventFormat = regexp.MustCompile(`a=rtpmap:(\d+) telephone-event/8000`)

// eventType is the payload type of telephone-event that the browser takes, from its last description.
func (p *party) eventType() uint8 {
	p.t.Helper()
	rungs, err := p.alice.Ladder(p.ctx)
	p.ok(err)
	pt := 0
	for _, r := range rungs {
		if m := eventFormat.FindStringSubmatch(r.Text); m != nil && r.Direction == "out" {
			pt, err = strconv.Atoi(m[1])
			p.ok(err)
		}
	}
	if pt == 0 {
		p.t.Fatal("the browser takes no telephone-event/8000")
	}
	return uint8(pt)
}

// inDialog is the head of a sipp's requests within the dialog, but for CSeq.
const inDialog = `[routes]
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
Max-Forwards: 70
From: <sip:keys@` + domain + `>;tag=[pid]sipp[call_number]
To: [$callee]
Call-ID: [call_id]
`

// infoCaller is a sipp that calls alice and presses keys by INFO, each four times, since one press is shorter than the window that the phone analyses.
const infoCaller = `<?xml version="1.0" encoding="UTF-8" ?>
<!DOCTYPE scenario SYSTEM "sipp.dtd">
<scenario name="info">
<send retrans="500"><![CDATA[

INVITE sip:alice@` + domain + ` SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
Max-Forwards: 70
From: <sip:keys@` + domain + `>;tag=[pid]sipp[call_number]
To: <sip:alice@` + domain + `>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:keys@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8
a=rtpmap:8 PCMA/8000

]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200" rrs="true"><action><ereg regexp=".*" search_in="hdr" header="To:" assign_to="callee"/></action></recv>
<Reference variables="callee"/>
<send><![CDATA[

ACK [next_url] SIP/2.0
` + inDialog + `CSeq: 1 ACK
Content-Length: 0

]]></send>
%s
<recv request="BYE"/>
<send><![CDATA[

SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>`

const infoPress = `<send retrans="500"><![CDATA[

INFO [next_url] SIP/2.0
` + inDialog + `CSeq: %d INFO
Content-Type: application/%s
Content-Length: [len]

%s

]]></send>
<recv response="200"/>
`

// presses are INFO of sipp with a key four times, when it is told to.
func presses(first int, kind, body string) string {
	text := "<recv request=\"CUE\"/>\n"
	for i := range 4 {
		text += fmt.Sprintf(infoPress, first+i, kind, body)
	}
	return text
}

// cue lets the sipp go on.
func (p *party) cue(at netip.AddrPort, callID string, n int) {
	p.t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	p.ok(err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "CUE sip:keys SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKcue%d\r\nFrom: <sip:test>;tag=test\r\nTo: <sip:keys>\r\nCall-ID: %s\r\nCSeq: %[2]d CUE\r\nContent-Length: 0\r\n\r\n",
		conn.LocalAddr(), n, callID)
	p.ok(err)
}

// infoToBrowser: keys that come by INFO, in either kind of body, are telephone-events in the browser, one for each press, and are heard there. Chromium
// plays them only beside audio: sipp returns the browser's own, which is silent. (Debian's baresip, which takes INFO, sends its own keys as
// telephone-events only.)
func infoToBrowser(p *party) {
	at := netip.MustParseAddrPort(netns.There + ":5190")
	dir, err := os.MkdirTemp(p.dir, "keys")
	p.ok(err)
	n := len(p.wire(0))
	caller, err := sipp.Start(p.ctx, sipp.Config{
		Scenario:  fmt.Sprintf(infoCaller, presses(2, "dtmf-relay", "Signal=1\nDuration=160")+presses(6, "dtmf", "9")),
		Transport: "udp", Local: at, Media: 5200, Control: 5220, Remote: netip.MustParseAddrPort(sipCore), Echo: true, Dir: dir, Wrap: p.space.Wrap, Timeout: 30 * time.Second,
	})
	p.ok(err)
	p.t.Cleanup(caller.Stop)
	tap := p.tapEvents()
	c := p.incoming()
	p.ok(p.alice.Answer(p.ctx, c.ID))
	p.inState(c.ID, "connected")
	p.until("DTLS to be connected", func() (bool, any) {
		s, err := p.alice.Stats(p.ctx, c.ID)
		return err == nil && s.SRTP != "", fmt.Sprint(s, err)
	})
	callID := p.onWire(n, "the ACK of sipp", func(m kamailio.Message) bool { return m.From == at && strings.HasPrefix(m.StartLine(), "ACK") }).Header("Call-ID")
	p.browserHears(c.ID, micHz)
	p.ok(p.alice.Mute(p.ctx, c.ID, true))
	pt := p.eventType()
	for i, column := range []float64{1209, 1477} {
		p.browserHearsNothing(c.ID)
		p.listen(c.ID)
		p.cue(at, callID, i+1)
		p.browserHeard(column)
		want := 4 * (i + 1)
		p.until("all telephone-events", func() (bool, any) { got := tap.count(pt); return got >= want, got })
		p.browserHearsNothing(c.ID) // and no more come
		if got := tap.count(pt); got != want {
			p.t.Errorf("%d telephone-events after %d presses", got, want)
		}
	}
	p.ok(p.alice.Hangup(p.ctx, c.ID))
	p.inState(c.ID, "ended")
	if res, err := caller.Wait(scenario.Within(p.t, patience)); err != nil || res.Exit != 0 {
		p.t.Errorf("%v %v", err, res)
	}
}
