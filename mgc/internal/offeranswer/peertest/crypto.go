package peertest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Crypto is a phone's side of SRTP with keys from signalling (RFC 4568, RFC 8643), written down anew.
type Crypto struct {
	Policy string // the gateway's: off, osrtp or required
	Habit  string // the phone's: none; offers: RTP/AVP with keys; needs: RTP/SAVP

	tag    string // of the attribute in use
	suite  string // in use, or offered; empty: plain RTP
	key    string // its own, base64
	mki    string // of its packets, "|value:length"; empty: they have none
	his    map[string]string
	tags   map[string]string // suite by tag of what it was offered, or has offered itself
	listed string            // by its last offer
	again  bool              // the line has ended, and nothing is agreed on it since
	before map[string]string // his, until then
	Used   string            // suite, key and MKI in use by the last agreement; empty: plain

	Renewed bool // the line came back at some time with other keys of the gateway
}

// lengths of key and salt, octets (RFC 4568 §6.2, RFC 7714 §12).
var lengths = map[string]int{"AEAD_AES_256_GCM": 44, "AEAD_AES_128_GCM": 28, "AES_CM_128_HMAC_SHA1_80": 30, "AES_CM_128_HMAC_SHA1_32": 30}

var suites = []string{"AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"}

func newCrypto(r *rand.Rand, policy string) Crypto {
	c := Crypto{Policy: policy, his: map[string]string{}, Habit: "none"}
	switch {
	case policy == "off" && Chance(r, 5), policy == "osrtp" && Chance(r, 30), policy == "required" && Chance(r, 50):
		c.Habit = "needs"
	case policy == "off" && Chance(r, 10), policy == "osrtp" && Chance(r, 50), policy == "required" && Chance(r, 80):
		c.Habit = "offers"
	}
	return c
}

func randomKey(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
}

// offer writes the attributes of its own offer; ok: the gateway can use one.
func (c *Crypto) offer(r *rand.Rand, a *sdp.Media) (ok bool) {
	c.tag, c.suite, c.tags = "", "", map[string]string{}
	if c.Habit == "none" {
		return false
	}
	for i := range 1 + r.IntN(4) {
		line := sdp.Crypto{Tag: uint32(1 + 4*i + r.IntN(4)), Suite: Pick(r, suites...)}
		key := randomKey(r, lengths[line.Suite])
		if raw, _ := base64.StdEncoding.DecodeString(c.key); len(raw) == lengths[line.Suite] && Chance(r, 80) {
			key = c.key // a re-offer keeps the key
		}
		line.KeyParams, line.Params = "inline:"+key+Pick(r, "", "", "|2^31", "|1048576"), Pick(r, "", "", "WSH=128", "-X=1")
		mki := Pick(r, "", "", "|1:4", "|300:2", c.mki)
		line.KeyParams += mki
		bad := Chance(r, 25)
		if bad {
			switch r.IntN(5) {
			case 0:
				line.Suite = "AES_256_CM_HMAC_SHA1_80"
			case 1:
				line.KeyParams = "inline:" + key + Pick(r, "|256:1", "|1:129", "|1:4|2^31", "|1:4;inline:"+key+"|2:4")
			case 2:
				line.Params = Pick(r, "UNENCRYPTED_SRTP", "UNAUTHENTICATED_SRTP", "X=1", "KDR=3")
			case 3:
				line.KeyParams = "inline:" + key[4:]
			case 4:
				line.KeyParams = "uri:" + key
			}
		}
		if !bad && c.suite == "" {
			c.tag, c.suite, c.key, c.mki = fmt.Sprint(line.Tag), line.Suite, key, mki
		}
		a.Cryptos = append(a.Cryptos, line)
	}
	return c.suite != ""
}

// using is what it sends with.
func (c *Crypto) using() string { return c.suite + " " + c.key + c.mki }

// fails says why the gateway has to refuse an offer in proto.
func (c *Crypto) fails(proto string, usable bool) string {
	switch {
	case strings.Contains(proto, "SAVP") && (c.Policy == "off" || !usable):
		return "SRTP without a usable key"
	case c.Policy == "required" && !usable:
		return "plain RTP"
	}
	return ""
}

// end lets go of what was agreed on a line that is at port 0 now. When it is used anew that is another stream (RFC 3264 §8.1), not a modification of the one before
// (RFC 4568 §7.1.4): all suites are offered in any order, under any keys.
func (c *Crypto) end() {
	if len(c.his) > 0 {
		c.before = c.his
	}
	c.Used, c.listed, c.his, c.again = "", "", map[string]string{}, true
}

// begun notes that something is agreed.
func (c *Crypto) begun() {
	for suite, key := range c.his {
		if was := c.before[suite]; c.again && was != "" && was != key {
			c.Renewed = true
		}
	}
	c.again = false
}

// read checks the gateway's attributes, which must have one key per suite for as long as the line goes on.
func (c *Crypto) read(a *sdp.Media) (tags map[string]string, err error) {
	tags = map[string]string{}
	for _, l := range a.Cryptos {
		info, inline := strings.CutPrefix(l.KeyParams, "inline:")
		raw, berr := base64.StdEncoding.DecodeString(info)
		tag := fmt.Sprint(l.Tag)
		switch {
		case !inline || berr != nil || len(raw) != lengths[l.Suite] || l.Params != "" || l.Tag == 0:
			return nil, fmt.Errorf("crypto attribute %d %s with %d octets", l.Tag, l.Suite, len(raw))
		case tags[tag] != "":
			return nil, fmt.Errorf("tag %s twice", tag)
		case c.his[l.Suite] != "" && c.his[l.Suite] != info:
			return nil, fmt.Errorf("the key for %s changes", l.Suite)
		}
		tags[tag], c.his[l.Suite] = l.Suite, info
	}
	return tags, nil
}

// takeAnswer checks the answer to its offer.
func (c *Crypto) takeAnswer(a *sdp.Media) error {
	tags, err := c.read(a)
	switch {
	case err != nil:
		return err
	case c.Policy == "off" || c.suite == "":
		if len(tags) > 0 {
			return errors.New("a key that nobody asked for")
		}
		c.begun()
		c.Used = ""
		return nil
	case len(tags) != 1 || tags[c.tag] != c.suite:
		return fmt.Errorf("answered with %v, the first usable is %s %s", tags, c.tag, c.suite)
	}
	c.begun()
	c.Used = c.using()
	return nil
}

// repeated reports whether an offer repeats what is agreed, as a refresh of the session does (RFC 4028 §7.4).
func (c *Crypto) repeated(a *sdp.Media) bool {
	if c.Used == "" {
		return len(a.Cryptos) == 0
	}
	return len(a.Cryptos) == 1 && strings.HasPrefix(c.Used, a.Cryptos[0].Suite+" ") && fmt.Sprint(a.Cryptos[0].Tag) == c.tag
}

// list is what a description lists, in order.
func list(a *sdp.Media) (out string) {
	for _, l := range a.Cryptos {
		out += fmt.Sprintf("%d %s ", l.Tag, l.Suite)
	}
	return out
}

// takeOffer checks the gateway's offer and answers it in ans, unless the phone refuses.
func (c *Crypto) takeOffer(r *rand.Rand, a *sdp.Media, first bool) (answer func(ans *sdp.Media), err error) {
	tags, err := c.read(a)
	same := c.listed != "" && c.listed == list(a)
	c.listed = list(a)
	secure := strings.Contains(a.Proto, "SAVP")
	switch {
	case err != nil:
		return nil, err
	case c.Policy == "off" && len(tags)+len(a.Cryptos) > 0, secure && c.Policy == "off":
		return nil, errors.New("SRTP is off")
	case c.Policy != "off" && len(tags) != len(suites) && (first || c.again || !c.repeated(a)):
		return nil, fmt.Errorf("%d suites are offered", len(tags))
	case first && secure != (c.Policy == "required"):
		return nil, fmt.Errorf("a first offer in %s", a.Proto)
	case c.Used != "" && len(a.Cryptos) > 0 && !same && !strings.HasPrefix(c.Used, a.Cryptos[0].Suite):
		return nil, fmt.Errorf("%s is offered before what is in use", a.Cryptos[0].Suite)
	case c.Habit == "none" && (secure || c.Policy == "required"), c.Habit == "needs" && c.Policy == "off":
		return nil, nil // it cannot
	case c.Habit == "none" || len(tags) == 0:
		return func(*sdp.Media) {
			c.begun()
			c.suite, c.Used = "", ""
		}, nil
	}
	l := a.Cryptos[0]
	if Chance(r, 40) {
		l = Pick(r, a.Cryptos...)
	}
	return func(ans *sdp.Media) {
		c.begun()
		if c.suite != l.Suite || Chance(r, 15) {
			c.key = randomKey(r, lengths[l.Suite])
		}
		c.tag, c.suite = fmt.Sprint(l.Tag), l.Suite
		if Chance(r, 20) {
			c.mki = Pick(r, "", "|1:4", "|300:2")
		}
		c.Used = c.using()
		ans.Cryptos = []sdp.Crypto{{Tag: l.Tag, Suite: l.Suite, KeyParams: "inline:" + c.key + Pick(r, "", "|2^48") + c.mki, Params: Pick(r, "", "WSH=64")}}
	}, nil
}

// check compares what the MGW is told with what was agreed.
func (c *Crypto) check(s *iqv1.Stream) error {
	want := c.Used
	got := ""
	for _, k := range s.GetRemote().GetCryptos() {
		mki := map[string]string{"": "", "00000001": "|1:4", "012c": "|300:2"}
		got += k.GetSuite() + " " + base64.StdEncoding.EncodeToString(k.GetKey()) + mki[fmt.Sprintf("%x", k.GetMki())]
	}
	if s.GetRemote() == nil {
		got = want
	}
	if got != want {
		return fmt.Errorf("the MGW is told %q, agreed was %q", got, want)
	}
	for _, k := range s.GetLocal().GetCryptos() {
		if len(k.GetKey()) > 0 || len(k.GetMki()) > 0 || !slices.Contains(suites, k.GetSuite()) {
			return fmt.Errorf("local %v", k)
		}
	}
	if n := len(s.GetLocal().GetCryptos()); n != map[bool]int{true: len(suites)}[c.Policy != "off"] {
		return fmt.Errorf("%d local suites", n)
	}
	return nil
}
