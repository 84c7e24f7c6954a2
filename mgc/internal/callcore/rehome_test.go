package callcore

import "testing"

// answered is a call of the browser that is up, with what the core's peer allows.
func answered(t *testing.T, allow string) *bench {
	b := newBench(t)
	b.s.d.Cfg.Policy.SessionExpires = 0
	b.invited()
	b.response("core INVITE", 200, "r1", coreSDP(1, "10.0.0.7"), "Allow: "+allow)
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.log = nil
	return b
}

var elsewhere = Rehomed{AccessHost: "a2.example:8080", CoreHost: "c2.example:5070"}

// A call that goes on at another instance tells the core's peer its Contact there, by what the peer takes; one whose Contact stays says nothing.
func TestRFC3261_12_2_TargetRefresh(t *testing.T) {
	for _, c := range []struct{ allow, method, body string }{{"INVITE, UPDATE", "UPDATE", ""}, {"INVITE", "INVITE", coreSDP(1, "10.0.0.7")}} {
		t.Run(c.method, func(t *testing.T) {
			b := answered(t, c.allow)
			b.step(Rehomed{AccessHost: "a.example", CoreHost: "c.example"})
			b.ladder() // nothing has changed
			b.step(elsewhere)
			b.ladder("core> " + c.method)
			b.has("core "+c.method, "Contact: <sip:ct@c2.example:5070>", "!Session-Expires")
			b.response("core "+c.method, 200, "r1", c.body)
			if c.method == "INVITE" {
				b.ladder("core> ACK")
			} else {
				b.ladder()
			}
			if n := len(b.s.Timers()) - 1; n > 0 { // but for that of the set-up
				t.Errorf("timers %v", b.s.Timers())
			}
			b.hangUp(2)
		})
	}
}

// A peer that refuses keeps what it has; one that cannot just now is asked again, not for ever.
func TestRFC3261_12_2_TargetRefreshRefused(t *testing.T) {
	b := answered(t, "INVITE, UPDATE")
	b.step(elsewhere)
	b.response("core UPDATE", 405, "r1", "")
	b.ladder("core> UPDATE", "core> INVITE") // the usual way
	b.response("core INVITE", 488, "r1", "")
	b.ladder()
	if b.s.refreshes(LegCore) {
		t.Error("it is asked again")
	}
	b.hangUp(2)

	b = answered(t, "INVITE, UPDATE")
	b.step(elsewhere)
	for n := 1; ; n++ {
		b.response("core UPDATE", 503, "r1", "")
		if _, again := b.s.Timers()[timerRefresh(LegCore)]; !again {
			if n != retargets {
				t.Errorf("asked %d times", n)
			}
			break
		}
		b.step(TimerFired{Name: timerRefresh(LegCore)})
	}
	b.log = nil
	b.hangUp(2)
}

// What goes on while the call changes hands comes first.
func TestRFC3261_12_2_TargetRefreshWaits(t *testing.T) {
	b := answered(t, "INVITE, UPDATE")
	b.step(RequestIn{Leg: LegAccess, Tx: "h1", Msg: hold(3)})
	b.step(elsewhere)
	b.ladder("core> INVITE")
	b.response("core INVITE", 488, "r1", "")
	b.ladder("access> 488")
	b.step(TimerFired{Name: timerRefresh(LegCore)})
	b.ladder("core> UPDATE")
	b.has("core UPDATE", "Contact: <sip:ct@c2.example:5070>")
	b.response("core UPDATE", 200, "r1", "")
	b.hangUp(4)
}
