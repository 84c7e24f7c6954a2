package offeranswer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func policyOf(mtsi bool) Policy {
	p := DefaultPolicy()
	p.MTSI = mtsi
	return p
}

// What a peer takes at most the other one is told, since relayed packets stay as long as they came; no codec is asked for less than it has.
func TestCOD07_WhoSendsIsToldOfTheLongestPacket(t *testing.T) {
	const phone = "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP 8\n"
	lengths := func(said string) (out string) {
		for _, line := range strings.Split(said, "\r\n") {
			if strings.HasPrefix(line, "a=ptime:") || strings.HasPrefix(line, "a=maxptime:") {
				out += line + " "
			}
		}
		return strings.TrimSpace(out)
	}
	for said, want := range map[string]string{
		"":                             "a=ptime:20",
		"a=ptime:30\n":                 "a=ptime:20",
		"a=maxptime:10\n":              "a=ptime:10 a=maxptime:10",
		"a=maxptime:5\n":               "a=ptime:10 a=maxptime:10",
		"a=ptime:10\na=maxptime:30\n":  "a=ptime:20 a=maxptime:30",
		"a=ptime:20\na=maxptime:150\n": "a=ptime:20 a=maxptime:150",
		"a=maxptime:1000\n":            "a=ptime:20 a=maxptime:240",
	} {
		m, _ := called(t, policyOf(false), parse(t, phone+said))
		if got := lengths(string(m.Line(Access).Said)); got != want {
			t.Errorf("the phone says %q, the browser is told %s, want %s", said, got, want)
		}
		if _, body := m.Repeat(Access); lengths(string(body)) != want {
			t.Errorf("the phone says %q, repeated is %s", said, lengths(string(body)))
		}
		for mtsi, want := range map[bool]string{true: want, false: want} {
			if mtsi && !strings.Contains(want, "maxptime") {
				want += " a=maxptime:240" // as TS 26.114 has it
			}
			// The other way: what the browser takes, the core is told.
			offer := strings.Replace(fmt.Sprintf(chrome, "actpass"), "a=rtcp-mux", said+"a=rtcp-mux", 1)
			m, body := offeredBy(t, policyOf(mtsi), parse(t, offer))
			if got := lengths(body); got != want {
				t.Errorf("the browser says %q, the core is told %s, want %s", said, got, want)
			}
			if mtsi {
				continue
			}
			m, err := m.Answer(Core, parse(t, phone+said))
			if err != nil {
				t.Fatal(err)
			}
			_, answer, err := m.MakeAnswer(Access)
			if got := lengths(string(answer)); err != nil || got != want {
				t.Errorf("the phone answers %q, the browser is told %s, want %s, %v", said, got, want, err)
			}
		}
	}
	for name, want := range map[string]uint32{codec.AMRWB: 20, codec.AMR: 20, codec.EVS: 20, "GSM": 20, "speex": 20, "iLBC": 30, "G729": 10, codec.G722: 10, codec.Opus: 10} {
		s := Stream{Longest: 10, Ours: []codec.Codec{{Name: codec.PCMA, ClockRate: 8000}, {Name: name}}}
		if ptime, longest := s.packets(); ptime != min(20, want) || longest != want {
			t.Errorf("%s is asked for packets of %d ms, at most %d, want %d", name, ptime, longest, want)
		}
	}
}
