package offeranswer

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// TestRFC3264_8_4_WhatAnOfferTellsOfAPeersWish: of a way that was not open only that it is wanted, never that it is not.
func TestRFC3264_8_4_WhatAnOfferTellsOfAPeersWish(t *testing.T) {
	for _, c := range []struct{ old, agreed, offer, want sdp.Direction }{ // agreed is from our point of view
		{sdp.DirUnset, sdp.DirUnset, sdp.RecvOnly, sdp.RecvOnly},
		{sdp.Inactive, sdp.DirUnset, sdp.SendOnly, sdp.SendOnly}, // a line that comes back
		{sdp.DirUnset, sdp.SendOnly, sdp.RecvOnly, sdp.SendRecv},
		{sdp.SendRecv, sdp.SendRecv, sdp.RecvOnly, sdp.RecvOnly},
		{sdp.SendRecv, sdp.SendRecv, sdp.SendOnly, sdp.SendOnly},
		{sdp.SendRecv, sdp.SendRecv, sdp.Inactive, sdp.Inactive},
		{sdp.SendRecv, sdp.SendOnly, sdp.RecvOnly, sdp.SendRecv}, // held by the other peer
		{sdp.SendRecv, sdp.SendOnly, sdp.Inactive, sdp.SendOnly}, // and holds it
		{sdp.RecvOnly, sdp.SendOnly, sdp.RecvOnly, sdp.RecvOnly},
		{sdp.RecvOnly, sdp.SendOnly, sdp.SendRecv, sdp.SendRecv},
		{sdp.SendRecv, sdp.RecvOnly, sdp.SendOnly, sdp.SendRecv}, // the other peer only listens
		{sdp.SendRecv, sdp.RecvOnly, sdp.Inactive, sdp.RecvOnly},
		{sdp.SendOnly, sdp.Inactive, sdp.Inactive, sdp.SendOnly},
		{sdp.SendOnly, sdp.Inactive, sdp.RecvOnly, sdp.SendRecv}, // no longer holds
		{sdp.Inactive, sdp.Inactive, sdp.Inactive, sdp.Inactive},
	} {
		if got := wantAfterOffer(c.old, c.agreed, c.offer); got != c.want {
			t.Errorf("wanted %v, agreed %v, offers %v: %v, want %v", c.old, c.agreed, c.offer, got, c.want)
		}
	}
}
