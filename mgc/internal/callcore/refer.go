package callcore

import (
	"strconv"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// refer is a REFER that passed: its subscription is named by the CSeq (RFC 3515 §2.4.6), which differs between the legs.
type refer struct {
	From Leg    `json:"from"` // who sent it
	In   uint32 `json:"in"`   // its CSeq there
	Out  uint32 `json:"out"`  // its CSeq on the other leg
}

// maxRefers bounds how many are remembered; the notifications of older ones pass with the number that they have.
const maxRefers = 8

// crossRefer keeps the CSeq of a REFER that passes on as m, and gives its notifications on their way back the number that their
// receiver knows.
func (s *State) crossRefer(e RequestIn, m *headers.Msg) {
	if e.Msg.Method == "REFER" {
		in, _ := headers.ParseCSeq(e.Msg.Get("CSeq")) // onRequest has read it
		out, err := headers.ParseCSeq(m.Get("CSeq"))
		if err != nil {
			return
		}
		s.d.Refers = append(s.d.Refers, refer{From: e.Leg, In: in.Seq, Out: out.Seq})
		s.d.Refers = s.d.Refers[max(0, len(s.d.Refers)-maxRefers):]
		return
	}
	event := m.Get("Event")
	parts := strings.Split(event, ";")
	if !strings.EqualFold(strings.TrimSpace(parts[0]), "refer") {
		return
	}
	for i, part := range parts[1:] {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
		if !ok || err != nil || !strings.EqualFold(strings.TrimSpace(name), "id") {
			continue
		}
		for _, r := range s.d.Refers {
			if r.From == e.Leg.Other() && r.Out == uint32(id) {
				parts[1+i] = "id=" + strconv.FormatUint(uint64(r.In), 10)
				m.Set("Event", strings.Join(parts, ";"))
				return
			}
		}
	}
}
