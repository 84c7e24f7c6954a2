package precond

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// lines parses "curr:qos local none" and its like.
func lines(ls ...string) Lines {
	var as []sdp.Attribute
	for _, l := range ls {
		n, v, _ := strings.Cut(l, ":")
		as = append(as, sdp.Attribute{Name: n, Value: v})
	}
	return Read(as)
}

func texts(as []sdp.Attribute) string {
	var out []string
	for _, a := range as {
		out = append(out, a.Name+":"+a.Value)
	}
	return strings.Join(out, "\n")
}

func TestPRE02_OfferOfABrowsersCall(t *testing.T) {
	want := "curr:qos local sendrecv\ncurr:qos remote none\ndes:qos mandatory local sendrecv\ndes:qos optional remote sendrecv"
	if got := texts(Offered().Attributes()); got != want {
		t.Errorf("got\n%s", got)
	}
	after := Offered().Take(lines("curr:qos local none", "curr:qos remote sendrecv", "des:qos mandatory local sendrecv",
		"des:qos mandatory remote sendrecv", "conf:qos remote sendrecv"))
	if after.Met() || !after.Confirm || after.Remote.Strength != Mandatory {
		t.Errorf("%+v", after)
	}
	if after = after.Take(lines("curr:qos local sendrecv", "curr:qos remote sendrecv")); !after.Met() {
		t.Errorf("%+v", after)
	}
}

func TestPRE04_CallerHasNotReserved(t *testing.T) {
	p := lines("curr:qos local none", "curr:qos remote none", "des:qos mandatory local sendrecv", "des:qos none remote sendrecv")
	a := Answered(p)
	want := "curr:qos local sendrecv\ncurr:qos remote none\ndes:qos mandatory local sendrecv\ndes:qos mandatory remote sendrecv\nconf:qos remote sendrecv"
	if got := texts(a.Attributes()); got != want {
		t.Errorf("got\n%s", got)
	}
	if a.Met() {
		t.Error("met before the caller reserved")
	}
	a = a.Take(lines("curr:qos local sendrecv", "curr:qos remote sendrecv", "des:qos mandatory local sendrecv", "des:qos mandatory remote sendrecv"))
	if !a.Met() || strings.Contains(texts(a.Attributes()), "conf") {
		t.Errorf("not met after the UPDATE: %+v", a)
	}
}

func TestPRE05_CallerHasReserved(t *testing.T) {
	a := Answered(lines("curr:qos local sendrecv", "curr:qos remote none", "des:qos mandatory local sendrecv", "des:qos optional remote sendrecv"))
	if !a.Met() || a.Asking {
		t.Errorf("%+v", a)
	}
}

func TestPRE06_FailureAndUnknown(t *testing.T) {
	a := Answered(lines("curr:qos local none", "des:qos mandatory local sendrecv"))
	if got := texts(a.Refusal()); got != "des:qos failure remote sendrecv" {
		t.Error(got)
	}
	if a = a.Take(lines("des:qos failure local sendrecv")); !a.Failed() || a.Met() {
		t.Errorf("%+v", a)
	}
	for _, bad := range []string{"des:qos urgent local sendrecv", "curr:sec local none", "des:qos mandatory e2e sendrecv", "curr:qos", "conf:x", "curr:qos local both"} {
		if l := lines(bad); !l.Other {
			t.Errorf("%q passed", bad)
		}
	}
	if l := lines("des:qos mandatory e2e sendrecv", "des:sec mandatory local sendrecv"); l.Unknown != "qos unknown e2e sendrecv" {
		t.Errorf("unknown %q", l.Unknown)
	}
	if got := texts(Table{Strange: "qos unknown e2e sendrecv"}.Refusal()); got != "des:qos unknown e2e sendrecv" {
		t.Error(got)
	}
	if l := lines("des:qos optional e2e sendrecv"); l.Unknown != "" {
		t.Errorf("optional, yet unknown %q", l.Unknown)
	}
}

func TestPRE08_PartialReservation(t *testing.T) {
	a := Answered(lines("curr:qos local send", "des:qos mandatory local sendrecv"))
	if a.Met() || a.Remote.Current != sdp.RecvOnly {
		t.Errorf("%+v", a)
	}
	a = a.Take(lines("curr:qos local sendrecv"))
	if !a.Met() {
		t.Errorf("%+v", a)
	}
}

// Two ends that follow the rules agree on the table, each from its own side.
func TestR3312_TablesOfBothEndsMirror(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dirs := []sdp.Direction{sdp.Inactive, sdp.SendOnly, sdp.RecvOnly, sdp.SendRecv}
	for range 10000 {
		caller := Table{
			Local:  Segment{dirs[r.IntN(4)], dirs[r.IntN(4)], Strength(r.IntN(3))},
			Remote: Segment{dirs[r.IntN(4)], dirs[r.IntN(4)], Strength(r.IntN(3))},
		}
		callee := Answered(Read(caller.Attributes()))
		if callee.Remote.Current != caller.Local.Current.Reverse() && caller.Local.Current != sdp.Inactive {
			t.Fatalf("caller %+v callee %+v", caller, callee)
		}
		raw, _ := json.Marshal(callee)
		var back Table
		if err := json.Unmarshal(raw, &back); err != nil || back != callee {
			t.Fatalf("%s: %+v", raw, back)
		}
		after := caller.Take(Read(callee.Attributes()))
		after.Local.Current = sdp.SendRecv
		if callee = callee.Take(Read(after.Attributes())); !callee.Remote.met() {
			t.Fatalf("reserved, but not met: %+v", callee)
		}
	}
}
