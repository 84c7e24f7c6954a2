package mgwpool

import (
	"errors"
	"strings"
	"testing"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	access = iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS
	core   = iqv1.TerminationDescriptor_KIND_RTP_CORE
)

// cand is a node in service for both realms.
func cand(id string, contexts uint32, change ...func(*candidate)) candidate {
	c := candidate{Node: Node{ID: id, Boot: "b", Max: 100, Realms: []Realm{{"access", access}, {"core", core}}, Codecs: []string{"opus", "pcma"},
		Features: []string{"move"}, Load: Load{Contexts: contexts}}, state: InService}
	for _, f := range change {
		f(&c)
	}
	return c
}

func inState(s State) func(*candidate) { return func(c *candidate) { c.state = s } }

// seq returns the given numbers one after the other.
func seq(nums ...int) func(int) int {
	return func(n int) int {
		x := nums[0]
		nums = nums[1:]
		if x >= n {
			panic("number out of range")
		}
		return x
	}
}

func TestChoice(t *testing.T) {
	both := Request{AccessRealm: "access", CoreRealm: "core"}
	cpu := func(permille uint32) func(*candidate) { return func(c *candidate) { c.Load.CPUPermille = permille } }
	cases := map[string]struct {
		cands []candidate
		req   Request
		rnd   func(int) int
		want  string // id, or text of the refusal
	}{
		"the less loaded of two":           {[]candidate{cand("a", 50), cand("b", 10)}, both, seq(0, 0), "b"},
		"drawn the other way round":        {[]candidate{cand("a", 50), cand("b", 10)}, both, seq(1, 0), "b"},
		"only the two drawn are compared":  {[]candidate{cand("a", 50), cand("b", 40), cand("c", 0)}, both, seq(0, 0), "b"},
		"equal: the first drawn":           {[]candidate{cand("a", 10), cand("b", 10)}, both, seq(1, 0), "b"},
		"processor counts like contexts":   {[]candidate{cand("a", 0, cpu(900)), cand("b", 50)}, both, seq(0, 0), "b"},
		"picks since the report count":     {[]candidate{cand("a", 10, func(c *candidate) { c.pending = 30 }), cand("b", 20)}, both, seq(0, 0), "b"},
		"only one fits":                    {[]candidate{cand("a", 0, func(c *candidate) { c.Realms = c.Realms[:1] }), cand("b", 90)}, both, seq(0), "b"},
		"a realm is bound to its kind":     {[]candidate{cand("a", 0)}, Request{AccessRealm: "core", CoreRealm: "access"}, nil, "1 access realm not served"},
		"any realm":                        {[]candidate{cand("a", 0)}, Request{}, seq(0), "a"},
		"codec not served":                 {[]candidate{cand("a", 0)}, Request{Codecs: []string{"AMR-WB"}}, nil, "1 codec not served"},
		"codec names ignore case":          {[]candidate{cand("a", 0)}, Request{Codecs: []string{"PCMA", "Opus"}}, seq(0), "a"},
		"feature not served":               {[]candidate{cand("a", 0)}, Request{Features: []string{"move", "sctp"}}, nil, "1 feature sctp not served"},
		"excluded":                         {[]candidate{cand("a", 0), cand("b", 50)}, Request{Exclude: []string{"a"}}, seq(0), "b"},
		"none is registered":               {nil, both, nil, "none is registered"},
		"draining":                         {[]candidate{cand("a", 0, inState(Draining))}, both, nil, "1 draining"},
		"suspect only when nothing better": {[]candidate{cand("a", 0, inState(Suspect)), cand("b", 90)}, both, seq(0), "b"},
		"suspect before nothing":           {[]candidate{cand("a", 0, inState(Suspect))}, both, seq(0), "a"},
		"full: the last 5 % are kept":      {[]candidate{cand("a", 95)}, both, nil, "1 full"},
		"not yet full":                     {[]candidate{cand("a", 94)}, both, seq(0), "a"},
		"full by picks":                    {[]candidate{cand("a", 90, func(c *candidate) { c.pending = 5 })}, both, nil, "1 full"},
		"priority takes what is kept":      {[]candidate{cand("a", 99)}, Request{Priority: 10}, seq(0), "a"},
		"priority beyond the limit":        {[]candidate{cand("a", 101)}, Request{Priority: 8}, seq(0), "a"},
		"priority rather elsewhere":        {[]candidate{cand("a", 100), cand("b", 99)}, Request{Priority: 14}, seq(0), "b"},
		"priority: the reserve is used up": {[]candidate{cand("a", 102)}, Request{Priority: 14}, nil, "1 full"},
		"priority that has no reserve":     {[]candidate{cand("a", 96)}, Request{Priority: 7}, nil, "1 full"},
		"priority is drained":              {[]candidate{cand("a", 0, inState(Draining))}, Request{Priority: 14}, nil, "1 draining"},
		"emergency takes what is kept":     {[]candidate{cand("a", 99)}, Request{Emergency: true}, seq(0), "a"},
		"emergency beyond the limit":       {[]candidate{cand("a", 100)}, Request{Emergency: true}, seq(0), "a"},
		"emergency where there is room":    {[]candidate{cand("a", 100), cand("b", 99, inState(Suspect))}, Request{Emergency: true}, seq(0), "b"},
		"emergency on a draining node":     {[]candidate{cand("a", 0, inState(Draining))}, Request{Emergency: true}, seq(0), "a"},
		"emergency rather elsewhere":       {[]candidate{cand("a", 0, inState(Draining)), cand("b", 99, inState(Suspect))}, Request{Emergency: true}, seq(0), "b"},
		"no limit configured":              {[]candidate{cand("a", 1e6, func(c *candidate) { c.Max = 0 })}, both, seq(0), "a"},
		"all reasons are told":             {[]candidate{cand("a", 99), cand("b", 99), cand("c", 0, inState(Draining))}, both, nil, "1 draining, 2 full"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n, err := choose(c.cands, c.req, c.rnd)
			if err != nil && !errors.Is(err, ErrNoGateway) {
				t.Fatalf("error %v is no ErrNoGateway", err)
			}
			if err != nil && !strings.HasSuffix(err.Error(), ": "+c.want) || err == nil && n.ID != c.want {
				t.Errorf("got %q, %v; want %q", n.ID, err, c.want)
			}
		})
	}
}

// TestTwoChoicesSpreadTheLoad: many placements on equal nodes leave them nearly equal, far from what single random choice does.
func TestTwoChoicesSpreadTheLoad(t *testing.T) {
	cands := make([]candidate, 10)
	for i := range cands {
		cands[i] = cand(string(rune('a'+i)), 0, func(c *candidate) { c.Max = 1000 })
	}
	rnd := uint64(1)
	draw := func(n int) int { // a fixed generator: the test is the same each time
		rnd = rnd*6364136223846793005 + 1442695040888963407
		return int(rnd>>33) % n
	}
	for range 5000 {
		n, err := choose(cands, Request{}, draw)
		if err != nil {
			t.Fatal(err)
		}
		cands[n.ID[0]-'a'].pending++
	}
	for _, c := range cands {
		if c.pending < 490 || c.pending > 510 {
			t.Errorf("%s got %d of 5000, want 490 to 510", c.ID, c.pending)
		}
	}
}
