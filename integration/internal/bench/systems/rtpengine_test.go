package systems

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/bencode"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

func someOffer(media load.Media) load.Offer {
	return load.Offer{
		Call: 5, Media: media, Browser: netip.MustParseAddrPort("127.0.0.1:40000"), Core: netip.MustParseAddrPort("127.0.0.1:40002"),
		Ufrag: "abcdefgh", Pwd: "0123456789abcdefghijklmn", Fingerprint: strings.Repeat("AB:", 31) + "AB",
	}
}

func TestDescriptionsSayWhatTheEndsAre(t *testing.T) {
	for media, codec := range map[load.Media]string{load.PCMA: "PCMA", load.OpusPCMA: "opus", load.OpusG722: "opus", load.OpusAMRWB: "opus", load.OpusAMRWBFull: "opus"} {
		o := someOffer(media)
		d, err := sdp.Parse([]byte(browserSDP(o)))
		if err != nil {
			t.Fatal(err)
		}
		m := &d.Media[0]
		ufrag, pwd := d.CredentialsOf(m)
		if m.Port != 40000 || m.Proto != "UDP/TLS/RTP/SAVPF" || !strings.EqualFold(m.Codecs[0].Name, codec) || ufrag != o.Ufrag || pwd != o.Pwd ||
			d.SetupOf(m) != sdp.SetupActpass || len(m.Candidates) != 1 || d.FingerprintsOf(m)[0].Value != o.Fingerprint {
			t.Errorf("browser: %s", browserSDP(o))
		}
		if d, err = sdp.Parse([]byte(coreSDP(o))); err != nil || d.Media[0].Port != 40002 || d.Media[0].Proto != "RTP/AVP" || int(d.Media[0].Codecs[0].PT) != map[load.Media]int{load.PCMA: 8, load.OpusPCMA: 8, load.OpusG722: 9, load.OpusAMRWB: 97, load.OpusAMRWBFull: 97}[media] ||
			!strings.HasPrefix(coreSpec(media), d.Media[0].Codecs[0].Name) {
			t.Errorf("core: %s, %v", coreSDP(o), err)
		}
	}
}

const (
	toCore    = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 25010 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\na=rtcp:25011\r\n"
	toBrowser = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 25020 UDP/TLS/RTP/SAVPF 8\r\na=rtpmap:8 PCMA/8000\r\n" +
		"a=sendrecv\r\na=rtcp-mux\r\na=setup:active\r\na=fingerprint:sha-256 01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F:20\r\n" +
		"a=ice-ufrag:KFGwk4Mu\r\na=ice-pwd:A0Zp3S8oTqlfhlSAfm3pbYmLCK\r\na=candidate:1 1 UDP 2130706431 127.0.0.1 25020 typ host\r\n"
)

// ng is an rtpengine of answers; the first request is lost.
func ng(t *testing.T, answer func(bencode.Dict) bencode.Dict) ngClient {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 8192)
		for first := true; ; first = false {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			cookie, body, _ := strings.Cut(string(buf[:n]), " ")
			cmd, err := bencode.Parse([]byte(body))
			if err != nil || first {
				continue
			}
			_, _ = conn.WriteTo([]byte("stale d6:result2:oke"), from)
			_, _ = conn.WriteTo(bencode.Append([]byte(cookie+" "), answer(cmd.(bencode.Dict))), from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return ngClient{conn.LocalAddr().String()}
}

func TestCallIsSetUpOverNG(t *testing.T) {
	seen := make(chan bencode.Dict, 8)
	s := &Rtpengine{ng: ng(t, func(cmd bencode.Dict) bencode.Dict {
		seen <- cmd
		text := toCore
		if cmd["command"] == "answer" {
			text = toBrowser
		}
		return bencode.Dict{"result": "ok", "sdp": text}
	})}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, err := s.Connect(ctx, someOffer(load.OpusPCMA))
	if err != nil {
		t.Fatal(err)
	}
	want := load.Answer{
		Access: netip.MustParseAddrPort("127.0.0.1:25020"), Ufrag: "KFGwk4Mu", Pwd: "A0Zp3S8oTqlfhlSAfm3pbYmLCK", Client: true,
		Fingerprint: "01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F:20",
		Core:        netip.MustParseAddrPort("127.0.0.1:25010"),
	}
	if a != want {
		t.Errorf("%+v", a)
	}
	if len(seen) != 2 {
		t.Fatalf("%d commands", len(seen))
	}
	cmds := [2]bencode.Dict{<-seen, <-seen}
	if cmds[0]["codec"] == nil || cmds[0]["ICE"] != "remove" || cmds[1]["ICE"] != "force" || cmds[0]["call-id"] != cmds[1]["call-id"] {
		t.Errorf("commands %v", cmds)
	}
}

func TestRefusalOverNGIsTold(t *testing.T) {
	c := ng(t, func(bencode.Dict) bencode.Dict {
		return bencode.Dict{"result": "error", "error-reason": "Ran out of ports"}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.describe(ctx, bencode.Dict{"command": "offer"}); err == nil || !strings.Contains(err.Error(), "Ran out of ports") {
		t.Errorf("%v", err)
	}
}

func TestIncompleteAnswersAreRefused(t *testing.T) {
	parse := func(text string) *sdp.Description {
		d, err := sdp.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if _, err := joined(parse(toCore), parse(toBrowser)); err != nil {
		t.Fatal(err)
	}
	for _, cut := range []string{"a=ice-ufrag:KFGwk4Mu\r\n", "a=setup:active\r\n", "sha-256"} {
		if _, err := joined(parse(toCore), parse(strings.Replace(toBrowser, cut, map[bool]string{true: "sha-1", false: ""}[cut == "sha-256"], 1))); err == nil {
			t.Errorf("without %q", cut)
		}
	}
	if _, err := joined(parse(strings.Replace(toCore, "audio 25010", "audio 0", 1)), parse(toBrowser)); err == nil {
		t.Error("a refused stream is taken")
	}
}
