package offeranswer

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func mtsi() Policy {
	p := DefaultPolicy()
	p.Core, p.Prefer, p.MTSI = MTSICodecs, PreferCore, true
	return p
}

// TestCOD01_COD02_COD08_COD09_Calls: what an IMS core is offered and answered, and what the browser gets for it.
func TestCOD01_COD02_COD08_COD09_Calls(t *testing.T) {
	for name, steps := range map[string][]string{
		"answers_amrwb":         {"browser offers chromium_audio_offer", "phone answers 97,101"},
		"answers_octet_aligned": {"browser offers chromium_audio_offer", "phone answers 98,102"},
		"answers_amr_gsm":       {"browser offers chromium_audio_offer", "phone answers 104,102"},
		"answers_pcma":          {"browser offers chromium_audio_offer", "phone answers 8,102"},
		"called_by_volte":       {"phone offers 107,106,105,104,103,108,102", "browser answers chromium_answer"},
		"called_by_pbx":         {"phone offers 8,0,101", "browser answers chromium_answer"},
		"called_pcma_first":     {"phone offers 8,106,108", "browser answers chromium_answer"},
		"called_only_crc":       {"phone offers 109", "phone offers 109,104,102", "browser answers chromium_answer"},
		"hold":                  {"browser offers chromium_audio_offer", "phone answers 97,108", "browser offers again dir=sendonly", "phone answers 97,108 dir=recvonly", "phone offers 98,108"},
	} {
		t.Run(name, func(t *testing.T) { playWith(t, "mtsi_"+name, mtsi(), steps...) })
	}
}

// TestCOD01_GatewayWithoutAMR: a pool that cannot transcode AMR offers what it can.
func TestCOD01_GatewayWithoutAMR(t *testing.T) {
	p := mtsi()
	p.Transcode = []string{codec.Opus, codec.PCMA, codec.PCMU}
	playWith(t, "mtsi_without_amr", p, "browser offers chromium_audio_offer", "phone answers 8,101")
}

// TestCOD05_Bandwidth: b=AS of each codec alone, IPv4 and IPv6.
func TestCOD05_Bandwidth(t *testing.T) {
	amr := codec.Codec{Name: codec.AMR, ClockRate: 8000}
	wide := codec.Codec{Name: codec.AMRWB, ClockRate: 16000}
	with := func(c codec.Codec, fmtp string) codec.Codec { c.Fmtp = fmtp; return c }
	pcma, _ := codec.Static(8)
	for _, c := range []struct {
		name   string
		codec  codec.Codec
		v4, v6 uint64
	}{
		{"AMR 12.2", amr, 29, 37},
		{"AMR 12.2 octet-aligned", with(amr, "octet-align=1"), 30, 38},
		{"AMR 7.95", with(amr, "mode-set=0,2,5"), 25, 33},
		{"AMR-WB 23.85", wide, 41, 49},
		{"AMR-WB 23.85 octet-aligned", with(wide, "octet-align=1;max-red=0"), 41, 49},
		{"AMR-WB 12.65", with(wide, "mode-set=0,1,2"), 30, 38},
		{"AMR-WB 12.65 octet-aligned", with(wide, "octet-align=1;mode-set=0,1,2"), 30, 38},
		{"G.711", pcma, 80, 88},
		{"EVS 24.4", codec.Codec{Name: codec.EVS, ClockRate: 16000, Fmtp: "br=5.9-24.4;bw=nb-swb"}, 42, 50},
		{"EVS 13.2", codec.Codec{Name: codec.EVS, ClockRate: 16000, Fmtp: "br=13.2"}, 30, 38},
		{"G.729", codec.Codec{Name: "G729", ClockRate: 8000}, 80, 88},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := []codec.Codec{c.codec, {Name: codec.TelephoneEvent, ClockRate: 8000}}
			if v4, v6 := bandwidth(list, netip.MustParseAddr("192.0.2.1")), bandwidth(list, netip.MustParseAddr("2001:db8::1")); v4 != c.v4 || v6 != c.v6 {
				t.Errorf("b=AS:%d and %d, want %d and %d", v4, v6, c.v4, c.v6)
			}
		})
	}
}

// TestCOD04_R4867_8_3_1_Answer: an answer repeats packing and mode-set of the offer.
func TestCOD04_R4867_8_3_1_Answer(t *testing.T) {
	for _, c := range []struct{ offer, want string }{
		{"", fmtpAMR},
		{"octet-align=0", fmtpAMR},
		{"octet-align=1; mode-change-capability=2", "octet-align=1;" + fmtpAMR},
		{"mode-set=0, 2,4,7; mode-change-period=2", "mode-set=0,2,4,7;" + fmtpAMR},
		{"mode-set=7; octet-align=1", "octet-align=1;mode-set=7;" + fmtpAMR},
	} {
		if got := answered(codec.Codec{Name: codec.AMR, ClockRate: 8000, Fmtp: c.offer}).Fmtp; got != c.want {
			t.Errorf("%q is answered %q, want %q", c.offer, got, c.want)
		}
	}
}

// TestR4867_8_1_Unusable: formats of AMR that are left alone.
func TestR4867_8_1_Unusable(t *testing.T) {
	for _, c := range []struct {
		fmtp string
		ok   bool
	}{
		{"", true}, {"crc=0;robust-sorting=0", true}, {"octet-align=1", true}, {"mode-set=0,7", true}, {"max-red=220;mode-change-capability=2", true},
		{"octet-align=1;crc=1", false}, {"octet-align=1;interleaving=30", false}, {"robust-sorting=1;octet-align=1", false},
		{"mode-set=0,8", false}, {"mode-set=", false}, {"mode-set=a", false}, {"octet-align=2", false},
	} {
		if got := known(codec.Codec{Name: "amr", ClockRate: 8000, Fmtp: c.fmtp}); got != c.ok {
			t.Errorf("%q: known %v", c.fmtp, got)
		}
	}
	for _, c := range []codec.Codec{
		{Name: "AMR-WB", ClockRate: 8000}, {Name: "AMR", ClockRate: 16000}, {Name: "AMR", ClockRate: 8000, Channels: 2}, {Name: "AMR-WB", ClockRate: 16000, Fmtp: "mode-set=9"},
	} {
		if known(c) {
			t.Errorf("%+v is known", c)
		}
	}
}

// What a phone asks for in its answer reaches the media gateway whole, for its encoder; what it offers is answered as it is.
func TestCOD03_COD04_ParametersReachTheGateway(t *testing.T) {
	s := playWith(t, "mtsi_answers_amr_gsm", mtsi(), "browser offers chromium_audio_offer", "phone answers 104,102")
	for _, want := range []string{"mode-set=0,2,4,7", "mode-change-period=2", "mode-change-neighbor=1"} {
		if c := s.m.ModifyDescriptor(Core, Open).GetStreams()[0].GetRemote().GetCodecs()[0]; c.GetName() != codec.AMR || !strings.Contains(c.GetFmtp(), want) {
			t.Errorf("the gateway is to send %v", c)
		}
	}
}
