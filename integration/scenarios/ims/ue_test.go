package ims

import (
	"context"
	"embed"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

//go:embed xml/*.xml
var xmlFiles embed.FS

var ladders = template.Must(template.New("").Funcs(funcs).Option("missingkey=error").ParseFS(xmlFiles, "xml/*.xml"))

// params fill a ladder's template beside Name, User and Media, which are always there.
type params map[string]any

// ue is VoLTE user equipment: a sipp that plays a ladder, and its audio.
type ue struct {
	p     *party
	name  string
	at    netip.AddrPort // of its SIP, in the Space
	hz    float64        // what it sends
	proc  *peer.Process
	rtp   *rtpua.Endpoint
	rec   *rtpua.Recorder
	calls int // how many it takes, each by its ladder
	cues  int
	over  bool // done has its result
}

// equipment makes user equipment with an address, not yet running. hz is the tone that it sends.
func (p *party) equipment(name string, hz float64) *ue {
	p.t.Helper()
	port := uint16(10000 + 20*p.nextPort.Add(1))
	u := &ue{p: p, name: name, at: netip.AddrPortFrom(netip.MustParseAddr(netns.There), port), hz: hz, calls: 1, rec: &rtpua.Recorder{}}
	var err error
	u.rtp, err = rtpua.Open(rtpua.Config{IP: netip.MustParseAddr(netns.Here)})
	p.ok(err)
	scenario.Closing(p.t, u.rtp.Close)
	u.rtp.SetSource(tone.NewSine(hz, -12))
	u.rtp.SetSink(u.rec)
	return u
}

// waits starts the ladder of a called one, under a name that this scenario alone has, and registers it.
func (p *party) waits(name, ladder string, hz float64, more params) *ue {
	p.t.Helper()
	u := p.equipment(p.user+"-"+name, hz)
	if n, ok := more["Calls"].(int); ok {
		u.calls = n
	}
	u.start(ladder, more, netip.AddrPort{})
	p.ok(p.core.Bind(p.ctx, u.name, "sip:ue@"+u.at.String()))
	return u
}

// called starts the ladder of a caller, by default of the browser's user.
func (p *party) called(name, ladder string, hz float64, more params) *ue {
	p.t.Helper()
	u := p.equipment(p.user+"-"+name, hz)
	u.start(ladder, more, netip.MustParseAddrPort(sipCore))
	return u
}

func (u *ue) start(ladder string, more params, remote netip.AddrPort) {
	u.p.t.Helper()
	all := params{"Name": u.name, "Target": "sip:" + u.p.user + "@" + domain, "Media": fmt.Sprint(u.rtp.Port()), "Headers": "", "ByeHeaders": "", "Held": false, "Told": false}
	for k, v := range more {
		all[k] = v
	}
	var b strings.Builder
	u.p.ok(ladders.ExecuteTemplate(&b, ladder+".xml", all))
	dir := filepath.Join(u.p.dir, "sipp-"+u.name)
	u.p.ok(os.Mkdir(dir, 0o700))
	var err error
	u.proc, err = peer.Start(u.p.ctx, peer.Config{
		Scenario: "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<!DOCTYPE scenario SYSTEM \"sipp.dtd\">\n" + b.String(), Transport: "udp", Local: u.at, Remote: remote, Media: u.at.Port() + 2, Control: u.at.Port() + 10,
		Dir: dir, Wrap: u.p.space.Wrap, Timeout: limit, Calls: u.calls,
	})
	u.p.ok(err)
	u.p.t.Cleanup(u.stop)
}

// stop ends sipp and, when the scenario failed, tells what it saw.
func (u *ue) stop() {
	u.proc.Stop()
	if u.p.t.Failed() && !u.over {
		res, err := u.proc.Wait(context.Background()) // it has ended
		u.p.t.Logf("%s: %v %v", u.name, res, err)
		if os.Getenv("ISTHMUS_LOGS") != "" {
			for _, e := range res.Trace {
				u.p.t.Logf("sent %v: %s\n%s\n\n%s", e.Sent, e.Summary(), strings.Join(e.Lines, "\n"), e.Body)
			}
		}
	}
}

// done waits until sipp has come to the end of its ladder.
func (u *ue) done() peer.Result {
	u.p.t.Helper()
	res, err := u.proc.Wait(u.p.ctx)
	u.over = true
	if err != nil || res.Exit != 0 || res.Good != u.calls || res.Bad != 0 {
		u.p.t.Fatalf("%s: %v\n%s", u.name, err, res)
	}
	return res
}

// got waits for the nth message of a kind that Kamailio sent to the equipment; the first is 1.
func (u *ue) got(n int, what string) peer.Message {
	u.p.t.Helper()
	m := u.p.nth(n, what, "to "+u.name, func(m kamailio.Message) bool { return m.To == u.at })
	u.p.until(what+" at "+u.name, func() (bool, any) { // Kamailio shows it before it sends it
		seen := 0
		for _, e := range u.proc.Trace() {
			if !e.Sent && e.Is(what) {
				seen++
			}
		}
		return seen >= n, seen
	})
	return m
}

// sent is the like for one that it sent.
func (u *ue) sent(n int, what string) peer.Message {
	u.p.t.Helper()
	return u.p.nth(n, what, "from "+u.name, func(m kamailio.Message) bool { return m.From == u.at })
}

// callID is that of the equipment's call.
func (u *ue) callID() string {
	u.p.t.Helper()
	id := ""
	u.p.until("a call of "+u.name, func() (bool, any) {
		for _, m := range u.p.tapped(func(m kamailio.Message) bool { return m.From == u.at || m.To == u.at }) {
			id = m.Get("Call-ID")
		}
		return id != "", nil
	})
	return id
}

// cue lets the ladder go on from where it says cue. It must be there: what comes before it has to be seen first.
func (u *ue) cue() {
	u.p.t.Helper()
	u.cueCall(u.callID())
}

// cueCall is the like for the call with the Call-ID.
func (u *ue) cueCall(callID string) {
	u.p.t.Helper()
	u.cues++
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(u.at))
	u.p.ok(err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "CUE sip:ue SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKcue%d\r\nFrom: <sip:test>;tag=test\r\nTo: <sip:ue>\r\nCall-ID: %s\r\nCSeq: %d CUE\r\nContent-Length: 0\r\n\r\n",
		conn.LocalAddr(), u.cues, callID, u.cues)
	u.p.ok(err)
}

// media sends and receives where a description of the gateway says.
func (u *ue) media(description string) {
	u.p.t.Helper()
	var ip string
	var port uint16
	for _, line := range strings.Split(strings.ReplaceAll(description, "\r", ""), "\n") {
		if a, ok := strings.CutPrefix(line, "c=IN IP4 "); ok {
			ip = a
		}
		_, _ = fmt.Sscanf(line, "m=audio %d RTP/AVP", &port) // another line leaves it
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil || port == 0 {
		u.p.t.Fatalf("no RTP address in\n%s", description)
	}
	u.rtp.SetParams(rtpua.Params{Remote: netip.AddrPortFrom(addr, port), Law: tone.ALaw, PT: 8, EventPT: 101, Send: true, Recv: true})
}

// hears waits until the equipment hears the frequency, in audio that comes after the call of this.
func (u *ue) hears(hz float64) {
	u.p.t.Helper()
	from := u.rec.Total()
	u.p.until(fmt.Sprintf("%s to hear %v Hz", u.name, hz), func() (bool, any) {
		_, _, last := u.rec.Heard()
		return last.IsTone(hz, 8) && u.rec.Total() >= from+2*fresh, last
	})
}

// fresh is the span of audio that a Recorder judges, in samples.
const fresh = tone.Rate / 5

// hearsNothing waits until nothing has come, or silence, for a while.
func (u *ue) hearsNothing() {
	u.p.t.Helper()
	before, quiet := u.rec.Total(), 0
	u.p.until("silence at "+u.name, func() (bool, any) {
		_, _, last := u.rec.Heard()
		n := u.rec.Total() // grows by some 300 between two looks while audio comes
		if quiet++; n != before && last.Total >= -60 {
			quiet = 0
		}
		before = n
		return quiet > 10, last
	})
}
