package sdp

import (
	"slices"
	"strings"
	"testing"
)

func TestR5939_Potentials(t *testing.T) {
	for name, c := range map[string]struct {
		session, media string
		want           []string // actual configuration and protocol
	}{
		"none":                      {},
		"feedback":                  {media: "a=tcap:1 RTP/AVPF\na=pcfg:1 t=1\n", want: []string{"1 t=1 RTP/AVPF"}},
		"capability of the session": {session: "a=tcap:1 RTP/AVPF\n", media: "a=pcfg:1 t=1\n", want: []string{"1 t=1 RTP/AVPF"}},
		"several":                   {media: "a=tcap:1 RTP/SAVPF RTP/SAVP RTP/AVPF\na=pcfg:3 t=3\na=pcfg:1 t=2|1\n", want: []string{"1 t=2 RTP/SAVP", "3 t=3 RTP/AVPF"}},
		"unknown optional parts":    {media: "a=tcap:1 RTP/AVPF\na=pcfg:1 t=1 x=5\n", want: []string{"1 t=1 RTP/AVPF"}},
		"unknown mandatory parts":   {media: "a=tcap:1 RTP/AVPF\na=pcfg:1 t=1 +x=5\n"},
		"attributes added":          {media: "a=tcap:1 RTP/SAVP\na=acap:1 crypto:1 x inline:y\na=pcfg:1 t=1 a=1\n"},
		"attributes deleted":        {media: "a=tcap:1 RTP/AVPF\na=pcfg:1 t=1 a=-m\n"},
		"no such capability":        {media: "a=tcap:1 RTP/AVPF\na=pcfg:1 t=2\n"},
		"a number twice":            {media: "a=tcap:1 RTP/AVPF\na=tcap:1 RTP/SAVP\na=pcfg:1 t=1\n"},
		"no transport":              {media: "a=tcap:1 RTP/AVPF\na=pcfg:1 x=1\n"},
		"an option we have":         {session: "a=creq:cap-v0\n", media: "a=tcap:1 RTP/AVPF\na=pcfg:1 t=1\n", want: []string{"1 t=1 RTP/AVPF"}},
		"an option we have not":     {session: "a=creq:cap-v0,med-v0\n", media: "a=tcap:1 RTP/AVPF\na=pcfg:1 t=1\n"},
		"damaged":                   {media: "a=tcap:\na=tcap:x RTP/AVPF\na=tcap:0 RTP/AVPF\na=pcfg:\na=pcfg:0 t=1\na=pcfg:1 t\na=pcfg:1 t=|\na=pcfg:99999999999 t=1\n"},
	} {
		d, err := Parse([]byte(strings.ReplaceAll("v=0\no=- 1 1 IN IP4 10.0.0.7\ns=-\nc=IN IP4 10.0.0.7\nt=0 0\n"+c.session+"m=audio 4000 RTP/AVP 8\n"+c.media, "\n", "\r\n")))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, p := range d.Potentials(&d.Media[0]) {
			got = append(got, p.Actual()+" "+p.Proto)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What a peer writes costs no more than it may.
func TestR5939_IsBounded(t *testing.T) {
	var d Description
	d.Media = []Media{{}}
	m := &d.Media[0]
	m.Other = append(m.Other, Attribute{"tcap", "1" + strings.Repeat(" RTP/AVPF", 1000)})
	for range 1000 {
		m.Other = append(m.Other, Attribute{"pcfg", "1 t=1"})
	}
	if n := len(d.Potentials(m)); n != maxPotential {
		t.Errorf("%d configurations", n)
	}
}
