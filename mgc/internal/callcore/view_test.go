package callcore

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// browserView checks that a message to the browser shows nothing of what the core side alone speaks (standards MO-11, PRE-09, MO-10).
func (w *world) browserView(m *headers.Msg) error {
	a := w.agents[LegAccess]
	switch {
	case m.Status == 0 && m.Method == "PRACK", m.Has("RSeq"), m.Has("RAck"), m.Has("P-Early-Media"):
		return fmt.Errorf("%s %d with RSeq %q, RAck %q, P-Early-Media %q to the browser", m.Method, m.Status, m.Get("RSeq"), m.Get("RAck"), m.Get("P-Early-Media"))
	case m.Status == 0 && m.Method == "UPDATE" && (a == nil || !a.update):
		return errors.New("UPDATE to a browser that does not allow it")
	case bytes.Contains(m.Body, []byte("qos")):
		return errors.New("preconditions to the browser")
	}
	for _, field := range []string{"Require", "Supported", "Allow"} {
		for _, v := range headers.List(m, field) {
			if slices.Contains([]string{"100rel", "precondition", "PRACK"}, v) {
				return fmt.Errorf("%s: %s to the browser", field, v)
			}
		}
	}
	return nil
}

// tell counts what a response of ours shows to have happened.
func (w *world) tell(tx *serverTx, m *headers.Msg) {
	by := " of the callee"
	if tx.leg == w.caller {
		by = " of the caller"
	}
	switch {
	case m.Status > 100 && m.Status < 200 && m.Has("RSeq"):
		w.seen["reliable to the core"]++
	case m.Status < 200:
	case tx.early:
		w.seen[fmt.Sprintf("early offer in %s%s: %d", tx.method, by, m.Status)]++
	case tx.method == "PRACK":
		w.seen[fmt.Sprintf("PRACK%s: %d", by, m.Status)]++
	case tx.agent.bare && m.Status == 200:
		w.seen["late offer"+by]++
	case m.Status == 422 || m.Status == 580 || m.Status == 504:
		w.seen[fmt.Sprintf("%d to %s", m.Status, tx.method)]++
	}
}

// rare is what must happen somewhere in a long run.
var rare = []string{
	"reliable to the core", "PRACK to the core", "early offer in UPDATE of the callee: 200", "early offer in UPDATE of the callee: 488",
	"early offer in UPDATE of the caller: 200", "early offer in PRACK of the caller: 200", "PRACK of the caller: 481", "PRACK of the caller: 488",
	"late offer of the caller", "late offer of the callee", "422 to INVITE", "422 to our INVITE", "422 to our re-INVITE", "580 to INVITE", "504 to INVITE",
	"refresh by UPDATE", "timer refresh_core", "timer refresh_access", "timer expire_core", "timer expire_access", "timer rel_end", "timer reserve",
	"digit by INFO", "digit as a signal", "INFO with a digit: 200", "INFO with a digit: 487", "signal cg/rt", "signal cg/bt", "signal an/apf", "an announcement ends", "timer announce",
	"the MGW is lost while a sound plays",
}

// gated checks what the MGW may let through before the call is answered.
func (w *world) gated(a *iqv1.Action) error {
	if w.s.d.Phase != phaseCall {
		return nil
	}
	for _, c := range a.GetCommands() {
		for _, s := range c.GetModify().GetDescriptor_().GetStreams() {
			m := s.GetLocalControl().GetMode()
			quiet := m == iqv1.LocalControl_MODE_INACTIVE
			if !quiet && (w.policy.EarlyMedia == EarlyMediaNever || w.policy.EarlyMedia == EarlyMediaAuthorised && !w.authorised) {
				return fmt.Errorf("early media in mode %s, policy %s (RFC 5009)", m, w.policy.EarlyMedia)
			}
		}
	}
	return nil
}

// ringsRightly checks the INVITE that calls the browser.
func (w *world) ringsRightly() error {
	if w.reserves() {
		return errors.New("the browser is called before the caller has reserved (RFC 3312 §6)")
	}
	return nil
}
