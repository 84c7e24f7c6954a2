package ims

import (
	"fmt"
	"strings"
	"text/template"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
)

// funcs are the rungs that the ladders of xml/ are made of. Each gives sipp's XML of a message that is sent or awaited. Arguments
// after those named are header lines and, when it begins with v=0 or is another body, a body at the end.
//
// Of the called one (uas): invited, reply, back. Of the caller (uac): invite, progress, answered, onward. Of both: recv, ok,
// expect, cue.
var funcs = template.FuncMap{
	"sdp": sdp, "cue": cue, "respond": respond, "referred": referred, "refuse": refuse, "reinvited": reinvited, "replyAgain": replyAgain,
	"backInvite": backInvite, "ackBackRefusal": ackBackRefusal, "maybe": maybe, "cancel": cancel, "cancelled": cancelled, "hungUp": hungUp, "recv": recv, "ok": ok, "expect": expect,
	"invited": invited, "reply": reply, "acked": func() string { return recv("ACK") }, "back": back, "ackBack": ackBack, "answerBack": answerBack,
	"invite": invite, "progress": progress, "answered": answered, "onward": onward, "ackOnward": ackOnward, "ackRefusal": ackRefusal, "prack": prack, "answerOnward": answerOnward,
}

// sdp is a description of the equipment, G.711 and telephone-event. qos gives the status of the preconditions (RFC 3312 §5) as
// "local/remote", "" for none.
func sdp(p params, version int, direction, qos string) string {
	s := fmt.Sprintf(`v=0
o=ue 53655765 %d IN IP4 %s
s=-
c=IN IP4 %[2]s
t=0 0
m=audio %s RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=%s`, version, netns.Here, p["Media"], direction)
	if local, remote, ok := strings.Cut(qos, "/"); ok {
		s += fmt.Sprintf(`
a=curr:qos local %s
a=curr:qos remote %s
a=des:qos mandatory local sendrecv
a=des:qos mandatory remote sendrecv`, local, remote)
	}
	return s
}

// send is a message of the lines and, last, a body. Requests other than ACK and responses that are repeated until something comes
// back say so. sipp tells responses apart by method, not by CSeq: a repeat that only a slow machine provokes, and the response to it, would be taken
// for those of the next request. Nothing is lost here, so repeats may be rare.
func send(repeat bool, first string, lines []string) string {
	var b strings.Builder
	b.WriteString("<send")
	if repeat {
		b.WriteString(` retrans="2000"`)
	}
	b.WriteString(">\n<![CDATA[\n\n" + first + "\n")
	body := ""
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "v=0"):
			body = "Content-Type: application/sdp\nContent-Length: [len]\n\n" + l + "\n"
		case strings.HasPrefix(l, "SIP/2.0"):
			body = "Content-Type: message/sipfrag;version=2.0\nContent-Length: [len]\n\n" + l + "\n"
		case l != "":
			b.WriteString(l + "\n")
		}
	}
	if body == "" {
		body = "Content-Length: 0\n\n"
	}
	b.WriteString(body + "]]>\n</send>\n")
	return b.String()
}

// fixed joins the lines that a kind of message always has to those given.
func fixed(lines []string, more ...string) []string { return append(lines, more...) }

func recv(method string) string { return fmt.Sprintf("<recv request=%q/>\n", method) }

func expect(status int) string { return fmt.Sprintf("<recv response=\"%d\"/>\n", status) }

// cue waits for the test.
func cue() string { return recv("CUE") }

// maybe lets responses come or not.
func maybe(status ...int) string {
	s := ""
	for _, o := range status {
		s += fmt.Sprintf("<recv response=\"%d\" optional=\"true\"/>\n", o)
	}
	return s
}

// ok answers the request that came last.
func ok(lines ...string) string { return respond("200 OK", lines...) }

// respond is the like with another status.
func respond(status string, lines ...string) string {
	return send(false, "SIP/2.0 "+status, fixed([]string{
		"[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]", "Contact: <sip:ue@[local_ip]:[local_port]>",
	}, lines...))
}

// kept stores header lines of all a name under a variable.
func kept(name, variable string) string {
	return fmt.Sprintf(`<ereg regexp="(%s: [[:print:]]+[[:cntrl:]]+)+" search_in="msg" assign_to="%s,x%[2]s"/>`, name, variable)
}

// field stores the value of a header field, with its leading space.
func field(name, regexp, variable string) string {
	return fmt.Sprintf(`<ereg regexp="%s" search_in="hdr" header="%s:" assign_to="%s"/>`, regexp, name, variable)
}

// invited takes the INVITE of a call. Later INVITEs of the dialog are taken by it as well, so that reply answers them.
func invited() string {
	return `<recv request="INVITE" rrs="true"><action>` + kept("Via", "via") + kept("Record-Route", "rr") +
		field("From", ".*", "from") + field("To", ".*", "to") + field("CSeq", "[0-9]+", "cseq") +
		"</action></recv>\n<Reference variables=\"via,xvia,rr,xrr,from,to,cseq\"/>\n"
}

// reply is a response to that INVITE.
func reply(status string, lines ...string) string {
	return send(!strings.HasPrefix(status, "1") || strings.Contains(strings.Join(lines, "\n"), "RSeq"), "SIP/2.0 "+status, fixed([]string{
		"[$via][$rr]From:[$from]", "To:[$to];tag=[pid]ue[call_number]", "Call-ID: [call_id]", "CSeq: [$cseq] INVITE",
		"Contact: <sip:ue@[local_ip]:[local_port]>", "Allow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK, REFER, NOTIFY",
	}, lines...))
}

// refuse is a final response without Contact of ours, and its ACK.
func refuse(status string, lines ...string) string {
	return send(true, "SIP/2.0 "+status, fixed([]string{
		"[$via]From:[$from]", "To:[$to];tag=[pid]ue[call_number]", "Call-ID: [call_id]", "CSeq: [$cseq] INVITE",
	}, lines...)) + recv("ACK")
}

// referred takes a REFER and keeps its CSeq, which the NOTIFYs name as id (RFC 3515 §2.4.6).
func referred() string {
	return `<recv request="REFER"><action>` + field("CSeq", "[0-9]+", "refer") + "</action></recv>\n<Reference variables=\"refer\"/>\n"
}

// reinvited takes an INVITE in the dialog of the called one, to be answered later by replyAgain.
func reinvited() string {
	return `<recv request="INVITE"><action>` + kept("Via", "via") + field("From", ".*", "refrom") + field("To", ".*", "reto") + field("CSeq", "[0-9]+", "cseq") +
		"</action></recv>\n<Reference variables=\"refrom,reto\"/>\n"
}

func replyAgain(status string, lines ...string) string {
	return send(!strings.HasPrefix(status, "1"), "SIP/2.0 "+status, fixed([]string{
		"[$via]From:[$refrom]", "To:[$reto]", "Call-ID: [call_id]", "CSeq: [$cseq] INVITE", "Contact: <sip:ue@[local_ip]:[local_port]>",
	}, lines...))
}

// backInvite is an INVITE of the called one whose refusal can be acknowledged by ackBackRefusal.
func backInvite(seq int, lines ...string) string {
	return strings.Replace(back("INVITE", seq, lines...), "branch=[branch]", fmt.Sprintf("branch=z9hG4bK-[pid]-[call_number]-re%d", seq), 1)
}

func ackBackRefusal(seq int) string {
	return strings.Replace(ackBack(seq), "branch=[branch]", fmt.Sprintf("branch=z9hG4bK-[pid]-[call_number]-re%d", seq), 1)
}

// back is a request of the called one in the dialog.
func back(method string, seq int, lines ...string) string {
	return send(true, method+" [next_url] SIP/2.0", fixed([]string{
		"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport", "[routes]", "Max-Forwards: 70",
		"From:[$to];tag=[pid]ue[call_number]", "To:[$from]", "Call-ID: [call_id]", fmt.Sprintf("CSeq: %d %s", seq, method),
		"Contact: <sip:ue@[local_ip]:[local_port]>",
	}, lines...))
}

// ackBack acknowledges the 200 of an INVITE of the called one.
func ackBack(seq int, lines ...string) string {
	return strings.Replace(back("ACK", seq, lines...), ` retrans="2000"`, "", 1)
}

// answerBack is a 200 for a re-INVITE to the called one that came last.
func answerBack(lines ...string) string {
	return strings.Replace(ok(lines...), "<send>", `<send retrans="2000">`, 1)
}

// invite begins a call to Target.
func invite(p params, lines ...string) string {
	return send(true, fmt.Sprintf("INVITE %s SIP/2.0", p["Target"]), fixed([]string{
		"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]-first;rport", "Max-Forwards: 70",
		fmt.Sprintf("From: <sip:%s@%s>;tag=[pid]ue[call_number]", p["Name"], domain), fmt.Sprintf("To: <%s>", p["Target"]),
		"Call-ID: [call_id]", "CSeq: 1 INVITE", "Contact: <sip:ue@[local_ip]:[local_port]>", "Allow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK, REFER, NOTIFY",
	}, lines...))
}

// progress awaits a reliable provisional response, after 100 and whatever else is said.
func progress(status int, optional ...int) string {
	return maybe(append(optional, 100)...) + fmt.Sprintf(`<recv response="%d" rrs="true"><action>`, status) + field("From", ".*", "me") + field("To", ".*", "peer") + field("RSeq", "[0-9]+", "rseq") +
		"</action></recv>\n<Reference variables=\"me,peer,rseq\"/>\n"
}

// prack acknowledges it; seq is its CSeq, RAck that of the INVITE 1.
func prack(seq int, lines ...string) string {
	return onward("PRACK", seq, append([]string{"RAck: [$rseq] 1 INVITE"}, lines...)...) + expect(200)
}

// answered awaits the 200 of the INVITE.
func answered(optional ...int) string {
	return maybe(append(optional, 100)...) + `<recv response="200" rrs="true"><action>` + field("From", ".*", "me") + field("To", ".*", "peer") + "</action></recv>\n<Reference variables=\"me,peer\"/>\n"
}

// onward is a request of the caller in the dialog.
func onward(method string, seq int, lines ...string) string {
	return send(true, method+" [next_url] SIP/2.0", fixed([]string{
		"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport", "[routes]", "Max-Forwards: 70",
		"From:[$me]", "To:[$peer]", "Call-ID: [call_id]", fmt.Sprintf("CSeq: %d %s", seq, method),
		"Contact: <sip:ue@[local_ip]:[local_port]>",
	}, lines...))
}

// ackOnward acknowledges a 200 of an INVITE of the caller.
func ackOnward(seq int, lines ...string) string {
	return strings.Replace(onward("ACK", seq, lines...), ` retrans="2000"`, "", 1)
}

// ackRefusal acknowledges another final response, in the transaction of the INVITE.
func ackRefusal(p params) string {
	return send(false, fmt.Sprintf("ACK %s SIP/2.0", p["Target"]), []string{
		"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]-first;rport", "Max-Forwards: 70",
		fmt.Sprintf("From: <sip:%s@%s>;tag=[pid]ue[call_number]", p["Name"], domain), "[last_To:]", "Call-ID: [call_id]", "CSeq: 1 ACK",
	})
}

// cancelled awaits the end of a cancelled call. A core that relays and answers in parallel may send the 487 before the 200 for the CANCEL.
func cancelled(p params) string {
	return `<recv response="487" optional="true" next="first"/>` + "\n" +
		expect(200) + expect(487) + ackRefusal(p) +
		`<nop next="over"/>` + "\n" + `<label id="first"/>` + "\n" +
		ackRefusal(p) + expect(200) +
		`<label id="over"/>` + "\n"
}

// hungUp awaits the 200 of the request just sent and a BYE that may overtake it.
func hungUp() string {
	return `<recv request="BYE" optional="true" next="overtaken"/>` + "\n" +
		expect(200) + recv("BYE") + ok() +
		`<nop next="gone"/>` + "\n" + `<label id="overtaken"/>` + "\n" +
		ok() + expect(200) +
		`<label id="gone"/>` + "\n"
}

// answerOnward is a 200 for a re-INVITE to the caller that came last.
func answerOnward(lines ...string) string { return answerBack(lines...) }

// cancel gives the call of invite up.
func cancel(p params, lines ...string) string {
	return send(true, fmt.Sprintf("CANCEL %s SIP/2.0", p["Target"]), fixed([]string{
		"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]-first;rport", "Max-Forwards: 70",
		fmt.Sprintf("From: <sip:%s@%s>;tag=[pid]ue[call_number]", p["Name"], domain), fmt.Sprintf("To: <%s>", p["Target"]), "Call-ID: [call_id]", "CSeq: 1 CANCEL",
	}, lines...))
}
