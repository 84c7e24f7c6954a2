package codec

import (
	"errors"
	"testing"
)

func wide(fmtp string) Codec {
	return Codec{Name: "amr-wb", PT: 96, ClockRate: 16000, Channels: 1, Fmtp: fmtp}
}

func narrow(fmtp string) Codec { return Codec{Name: "AMR", PT: 97, ClockRate: 8000, Fmtp: fmtp} }

func TestRFC4867_8_1_ModeSet(t *testing.T) {
	for _, tc := range []struct {
		c    Codec
		want Modes
		bad  bool
	}{
		{narrow(""), AMRModes, false}, {wide("octet-align=1"), AMRWBModes, false},
		{narrow("mode-set=0,2,4,7"), 0x95, false}, {narrow("octet-align=1; mode-set=0, 2, 4, 7;mode-change-period=2"), 0x95, false},
		{wide("mode-set=8"), 0x100, false}, {narrow("Mode-Set=7"), 0x80, false},
		{narrow("mode-set=8"), 0, true}, {wide("mode-set=9"), 0, true}, {narrow("mode-set="), 0, true}, {narrow("mode-set=1,,2"), 0, true},
		{narrow("mode-set=x"), 0, true}, {narrow("mode-set=-1"), 0, true}, {narrow("mode-set=16"), 0, true},
		{Codec{Name: PCMA, ClockRate: 8000, Fmtp: "mode-set=1"}, 0, false},
	} {
		got, err := tc.c.ModeSet()
		if got != tc.want || (err != nil) != tc.bad || tc.bad && !errors.Is(err, ErrModeSet) {
			t.Errorf("%s %q: %#x, %v", tc.c.Name, tc.c.Fmtp, got, err)
		}
	}
	for m := range uint8(20) {
		if Modes(0x95).Has(m) != (m == 0 || m == 2 || m == 4 || m == 7) {
			t.Errorf("mode %d", m)
		}
	}
}

// What may be relayed as it is, and what after packing it anew.
func TestCOD04_RFC4867_8_3_1_SameFormat(t *testing.T) {
	for _, tc := range []struct {
		c, d           Codec
		format, frames bool
	}{
		{wide(""), wide("octet-align=0"), true, true},
		{wide(""), wide("octet-align=1"), false, true},
		{wide("octet-align=1"), wide("octet-align=1;max-red=0"), true, true},
		{wide("octet-align=1"), wide("octet-align=1;crc=1"), false, true},
		{wide("crc=1"), wide("octet-align=1;crc=1"), true, true},
		{wide("robust-sorting=1"), wide("octet-align=1"), false, true},
		{wide("interleaving=4"), wide("interleaving=8"), false, true},
		{wide("interleaving=4"), wide("octet-align=1"), false, true},
		{narrow(""), wide(""), false, false},
		{narrow(""), narrow("mode-set=0,2,4,7"), false, false}, // the sender may use what the receiver does not take
		{narrow("mode-set=0,2,4,7"), narrow(""), true, true},
		{narrow("mode-set=0,2,4,7"), narrow("mode-set=7,4,2,0"), true, true},
		{narrow("mode-set=2,4"), narrow("mode-set=0,2,4,7"), true, true},
		{narrow("mode-set=0,2,4,7"), narrow("mode-set=2,4"), false, false},
		{narrow("mode-set=7"), narrow("mode-set=0"), false, false},
		{narrow("mode-set=2,4;octet-align=1"), narrow("mode-set=0,2,4,7"), false, true},
		{narrow("mode-set=9"), narrow("mode-set=9"), false, false}, // nobody knows what is meant
		{narrow(""), narrow("mode-change-period=2"), false, false},
		{narrow("mode-change-period=2"), narrow("mode-change-period=2"), true, true},
		{narrow("mode-change-period=2"), narrow(""), true, true},
		{narrow("mode-set=7"), narrow("mode-set=7;mode-change-period=2;mode-change-neighbor=1"), true, true},
		{narrow("mode-set=0,2"), narrow("mode-set=0,2;mode-change-neighbor=1"), false, false},
		{narrow("mode-change-capability=2"), narrow("mode-change-capability=1;max-red=220"), true, true},
	} {
		if got := tc.c.SameFormat(tc.d); got != tc.format {
			t.Errorf("%s %q as %s %q: same format %v", tc.c.Name, tc.c.Fmtp, tc.d.Name, tc.d.Fmtp, got)
		}
		if got := tc.c.SameFrames(tc.d); got != tc.frames {
			t.Errorf("%s %q as %s %q: same frames %v", tc.c.Name, tc.c.Fmtp, tc.d.Name, tc.d.Fmtp, got)
		}
		if got := tc.c.SameCodec(tc.d); got != tc.c.Is(tc.d.Name) {
			t.Errorf("%s %q as %s %q: same codec %v", tc.c.Name, tc.c.Fmtp, tc.d.Name, tc.d.Fmtp, got)
		}
	}
}

// Parameters of other codecs do not keep them from being relayed.
func TestSameFormatOfOthers(t *testing.T) {
	opus := Codec{Name: Opus, PT: 111, ClockRate: 48000, Channels: 2, Fmtp: "useinbandfec=1"}
	for _, tc := range []struct {
		c, d Codec
		want bool
	}{
		{opus, Codec{Name: "OPUS", PT: 96, ClockRate: 48000, Channels: 2, Fmtp: "octet-align=1;mode-set=x"}, true},
		{opus, Codec{Name: Opus, ClockRate: 48000, Channels: 1}, false},
		{Codec{Name: PCMA, ClockRate: 8000}, Codec{Name: PCMA, PT: 8, ClockRate: 8000, Channels: 1}, true},
		{Codec{Name: PCMA, ClockRate: 8000}, Codec{Name: PCMU, ClockRate: 8000}, false},
		{Codec{Name: TelephoneEvent, ClockRate: 8000}, Codec{Name: TelephoneEvent, ClockRate: 16000}, false},
	} {
		if tc.c.SameFormat(tc.d) != tc.want || tc.d.SameFormat(tc.c) != tc.want || tc.c.SameFrames(tc.d) != tc.want {
			t.Errorf("%s as %s: want %v", tc.c.Name, tc.d.Name, tc.want)
		}
	}
}
