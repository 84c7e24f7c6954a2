package load

import "testing"

// What was heard is the material with 25 ms of silence before it, then, from packet 100 on, a pitch period more of delay; packets come at a
// steady pace, but one that is 30 ms late. Lateness is that of the sound, not of the packet.
func TestLatenessIsThatOfTheSound(t *testing.T) {
	const n, ms = 180, int64(1e6)
	var tr track
	tr.ref, tr.first = material.PCM, 13
	start := 13 * frameLen // what packet 13 has in it
	for i := range 400 {
		tr.sent = append(tr.sent, int64(i)*20*ms)
	}
	for i := range n {
		for j := range frameLen {
			at := start + i*frameLen + j - 200 // 25 ms
			if i >= 100 {
				at -= 56 // 7 ms
			}
			tr.heard = append(tr.heard, tr.ref[(at+len(tr.ref))%len(tr.ref)])
		}
		tr.arrived = append(tr.arrived, int64(i)*20*ms+3*ms)
	}
	tr.arrived[50] += 30 * ms
	late := map[int64]int{}
	for _, l := range tr.lateness() {
		late[(l+ms/2)/ms]++
	}
	if late[28] < 60 || late[35] < 40 || late[58] > 1 || len(late) > 8 {
		t.Errorf("packets by lateness in ms: %v", late)
	}
	other := tr
	other.heard = make([]int16, n*frameLen)
	if l := other.lateness(); len(l) > 0 {
		t.Errorf("silence is found: %v", l)
	}
	tr.since = tr.arrived[n-1]
	if l := tr.lateness(); len(l) > 1 {
		t.Errorf("%d packets before the window count", len(l))
	}
}
