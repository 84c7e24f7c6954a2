package amr

import (
	"errors"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func TestRFC4867_8_1_Params(t *testing.T) {
	all := Params{Modes: codec.AMRModes, Period: 1, Capability: 1, MaxRed: -1}
	with := func(f func(*Params)) Params {
		p := all
		f(&p)
		return p
	}
	for _, tc := range []struct {
		fmtp string
		want Params
	}{
		{"", all},
		{"octet-align=1", with(func(p *Params) { p.OctetAligned = true })},
		{"octet-align=0;crc=0;robust-sorting=0;ptime=20;foo=bar", all},
		{"mode-change-capability=2; max-red=220", with(func(p *Params) { p.Capability, p.MaxRed = 2, 220 })},
		{"max-red=0", with(func(p *Params) { p.MaxRed = 0 })},
		{"mode-set=0,2,4,7; mode-change-period=2; mode-change-neighbor=1", with(func(p *Params) { p.Modes, p.Period, p.Neighbor = 0x95, 2, true })},
	} {
		p, err := ParseParams(codec.Codec{Name: "amr", ClockRate: 8000, Channels: 1, Fmtp: tc.fmtp})
		if err != nil || p != tc.want {
			t.Errorf("%q: %+v, %v", tc.fmtp, p, err)
		}
	}
	p, err := ParseParams(codec.Codec{Name: "AMR-WB", ClockRate: 16000})
	if err != nil || p.Codec != Wide || p.Modes != codec.AMRWBModes {
		t.Errorf("AMR-WB: %+v, %v", p, err)
	}
}

// Refusals name what is refused: the text ends up in the answer to the controller.
func TestParamsRefused(t *testing.T) {
	for _, tc := range []struct {
		c    codec.Codec
		want error
		text string
	}{
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "crc=1"}, ErrOption, "crc"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "robust-sorting=1"}, ErrOption, "robust-sorting"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "octet-align=1;interleaving=30"}, ErrOption, "interleaving"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Channels: 2}, ErrOption, "2 channels"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "octet-align=2"}, ErrParam, `octet-align="2"`},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "octet-align"}, ErrParam, "octet-align"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "mode-change-period=0"}, ErrParam, "mode-change-period"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "mode-change-period=3"}, ErrParam, "mode-change-period"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "mode-change-neighbor=-1"}, ErrParam, "mode-change-neighbor"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "mode-change-capability=x"}, ErrParam, "mode-change-capability"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "max-red=70000"}, ErrParam, "max-red"},
		{codec.Codec{Name: "AMR", ClockRate: 8000, Fmtp: "mode-set=8"}, ErrParam, "mode-set"},
		{codec.Codec{Name: "AMR", ClockRate: 16000}, ErrParam, "16000 Hz"},
		{codec.Codec{Name: "AMR-WB", ClockRate: 8000}, ErrParam, "8000 Hz"},
		{codec.Codec{Name: "PCMA", ClockRate: 8000}, ErrParam, "PCMA"},
	} {
		if _, err := ParseParams(tc.c); !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s %q: %v", tc.c.Name, tc.c.Fmtp, err)
		}
	}
}
