package rtpua

import (
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

func TestLongestStepIsOnTheSendersClock(t *testing.T) {
	e := &Endpoint{recv: newReceiver()}
	e.recv.setParams(Params{PT: 8, Recv: true, Law: tone.ALaw})
	put := func(ssrc uint32, seq uint16, ts uint32) {
		e.recv.insert(rtp.Packet{Header: rtp.Header{SSRC: ssrc, SequenceNumber: seq, Timestamp: ts, PayloadType: 8}, Payload: make([]byte, 160)}, 0, discard{})
	}
	start := uint32(1<<32 - 200) // the clock runs over
	for i := range uint32(3) {
		put(1, uint16(i), start+160*i)
	}
	if got := e.LongestStep(); got != Frame {
		t.Errorf("without loss %v", got)
	}
	put(1, 103, start+160*103) // beyond what is filled with silence
	put(1, 104, start+160*104)
	put(1, 102, start+160*102) // late
	if got := e.LongestStep(); got != 101*Frame {
		t.Errorf("with 100 packets missing %v", got)
	}
	put(2, 7, 5) // another source has another clock
	put(2, 8, 165)
	if got := e.LongestStep(); got != Frame || e.LongestStep() != time.Duration(0) {
		t.Errorf("with a new source %v", got)
	}
}
