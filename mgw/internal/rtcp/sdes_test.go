package rtcp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	pion "github.com/pion/rtcp"
)

// TestR9143_15_1_MIDInReports: the first report and all after it name the stream as long as it has a MID, beside the CNAME and within what a report may
// take; a foreign reader finds both.
func TestR9143_15_1_MIDInReports(t *testing.T) {
	for _, mid := range []string{"0", "audio-1", strings.Repeat("m", 16)} {
		for _, cname := range []string{"c", strings.Repeat("n", maxCNAME)} {
			l, err := New(0, Config{SSRC: 42, CNAME: cname, OutClock: 8000, InClock: 8000})
			if err != nil {
				t.Fatal(err)
			}
			l.SetMID(mid)
			l.SetXR(true, true)
			l.Received(1, Arrival{SSRC: 7, Seq: 1, TS: 1})
			l.Sent(160)
			l.xr.lrr = 1
			out := make([]byte, MaxReport)
			for i, build := range []func(int64, uint32, []byte) int{l.Build, l.Build, l.BuildBye} {
				if got := itemsOf(t, out[:build(2, 3, out)]); got != fmt.Sprintf("42 %s=%s %s=%s", pion.SDESCNAME, cname, pion.SDESType(15), mid) {
					t.Errorf("report %d: %s", i+1, got)
				}
			}
			l.SetMID("")
			if got := itemsOf(t, out[:l.Build(2, 3, out)]); got != fmt.Sprintf("42 %s=%s", pion.SDESCNAME, cname) {
				t.Errorf("without MID: %s", got)
			}
		}
	}
}

// itemsOf is the source description in a compound.
func itemsOf(t *testing.T, b []byte) string {
	t.Helper()
	all, err := pion.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range all {
		if s, ok := p.(*pion.SourceDescription); ok {
			for _, c := range s.Chunks {
				out = append(out, fmt.Sprint(c.Source))
				for _, it := range c.Items {
					out = append(out, fmt.Sprintf("%s=%s", it.Type, it.Text))
				}
			}
		}
	}
	return strings.Join(out, " ")
}

// TestR9143_9_2_MIDsOfSources: the MIDs in source descriptions are found, of each chunk, wherever they stand among others; what is cut off ends the search.
func TestR9143_9_2_MIDsOfSources(t *testing.T) {
	found := func(b []byte) (out string) {
		EachMID(b, func(ssrc uint32, mid []byte) { out += fmt.Sprintf("%d=%s ", ssrc, mid) })
		return strings.TrimSpace(out)
	}
	item := func(typ pion.SDESType, text string) pion.SourceDescriptionItem {
		return pion.SourceDescriptionItem{Type: typ, Text: text}
	}
	rr := &pion.ReceiverReport{SSRC: 1}
	b, err := pion.Marshal([]pion.Packet{rr, &pion.SourceDescription{Chunks: []pion.SourceDescriptionChunk{
		{Source: 5, Items: []pion.SourceDescriptionItem{item(pion.SDESCNAME, "me"), item(15, "a")}},
		{Source: 6, Items: []pion.SourceDescriptionItem{item(15, "bb"), item(pion.SDESTool, "a tool")}},
		{Source: 7, Items: []pion.SourceDescriptionItem{item(pion.SDESCNAME, "me")}},
		{Source: 8, Items: []pion.SourceDescriptionItem{item(pion.SDESNote, "123"), item(15, "c")}},
	}}, &pion.Goodbye{Sources: []uint32{9}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := found(b), "5=a 6=bb 8=c"; got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	for n := range b {
		if got := found(b[:n]); !strings.HasPrefix("5=a 6=bb 8=c", got) {
			t.Errorf("of %d octets: %q", n, got)
		}
	}
	if got := found([]byte{0x9f, typeSDES, 0, 2, 0, 0, 0, 5, 15, 200, 'a', 'b'}); got != "" {
		t.Errorf("an item that is longer than its packet: %q", got)
	}
	if got := found([]byte{0x82, typeSDES, 0, 2, 0, 0, 0, 5, 15, 0, 15, 1}); got != "" {
		t.Errorf("an empty item, and one that is cut off: %q", got)
	}
	if n := testing.AllocsPerRun(100, func() { EachMID(b, func(uint32, []byte) {}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !bytes.Contains(b, []byte("bb")) {
		t.Error("the packet was changed")
	}
}
