package callcore

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	fallsSilent = iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE
	speaksAgain = iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE
)

// watched is a call with two lines up, the phone's directions as given, that silence ends after a minute.
func watched(t *testing.T, answer ...string) *bench {
	b := newSeveral(t)
	b.s.d.Cfg.Policy.InactivityGrace = time.Minute
	b.establishTwo(answer...)
	return b
}

// runsFrom checks since when a silence counts; zero: none does.
func (b *bench) runsFrom(since time.Time, what string) {
	b.t.Helper()
	at, runs := b.s.Timers()[timerInactive]
	if want := since.Add(time.Minute); since.IsZero() == runs || runs && !at.Equal(want) {
		b.t.Errorf("%s: the time runs (%v) until %s, want %s", what, runs, at, want)
	}
}

// hold has the browser give its lines these directions, and the phone follows; it returns when that was agreed.
func (b *bench) hold(seq int, dirs ...string) time.Time {
	b.t.Helper()
	answer := make([]string, len(dirs))
	for i, d := range dirs {
		answer[i] = map[string]string{"sendrecv": "sendrecv", "inactive": "inactive", "sendonly": "recvonly", "": "inactive"}[d]
	}
	tx := "hold" + string(rune('0'+seq))
	b.request(LegAccess, tx, b.browser("INVITE", seq, twoWeb(seq+1, dirs...)))
	b.answers(LegCore, "INVITE", 200, twoPhone(seq, answer...))
	agreed := b.now
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", seq, "")})
	return agreed
}

// TestIQ13_IQ35_SilentOnceAllStreamsAre: a stream that speaks keeps the call up; the time begins when the last one falls silent.
func TestIQ13_IQ35_SilentOnceAllStreamsAre(t *testing.T) {
	b := watched(t, "sendrecv", "sendrecv")
	for _, order := range [][2]uint32{{1, 2}, {2, 1}} {
		b.silenceOf(LegCore, fallsSilent, order[0])
		b.runsFrom(time.Time{}, "the other stream speaks")
		b.silenceOf(LegAccess, fallsSilent, order[1])
		b.runsFrom(time.Time{}, "each side speaks in one stream")
		b.silenceOf(LegAccess, speaksAgain, order[1])
		b.now = b.now.Add(5 * time.Minute)
		b.silenceOf(LegCore, fallsSilent, order[1])
		last := b.now
		b.runsFrom(last, "both are silent")
		b.now = b.now.Add(10 * time.Second)
		b.silenceOf(LegCore, fallsSilent, order[0]) // told again
		b.runsFrom(last, "told again")
		b.silenceOf(LegCore, speaksAgain, order[0])
		b.runsFrom(time.Time{}, "one speaks again")
		b.silenceOf(LegCore, speaksAgain, order[1])
	}
	b.silenceOf(LegCore, fallsSilent, 1)
	b.silenceOf(LegCore, fallsSilent, 2)
	b.fires(timerInactive)
	b.done("access> BYE", "core> BYE", "mgw> Subtract", "ended media_inactive")
}

// TestIQ13_IQ35_HeldStreamsDoNotCount: the silence of a side is that of the streams that shall speak, and begins when the last of them is held or silent.
func TestIQ13_IQ35_HeldStreamsDoNotCount(t *testing.T) {
	t.Run("held", func(t *testing.T) {
		b := watched(t, "sendrecv", "sendrecv")
		b.silenceOf(LegAccess, fallsSilent, 1)
		b.now = b.now.Add(5 * time.Minute)
		held := b.hold(2, "sendrecv", "inactive")
		b.runsFrom(held, "the stream that speaks is held")
		b.silenceOf(LegAccess, speaksAgain, 1)
		b.runsFrom(time.Time{}, "the other one speaks")
		b.silenceOf(LegAccess, fallsSilent, 1)
		b.silenceOf(LegAccess, fallsSilent, 2) // was on its way when the line was held
		b.hold(3, "sendrecv", "sendrecv")
		b.runsFrom(time.Time{}, "a stream that is not held any more is heard anew")
		b.silenceOf(LegAccess, fallsSilent, 2)
		b.runsFrom(b.now, "both are silent")
		b.hold(4, "inactive", "inactive")
		b.runsFrom(time.Time{}, "a side on hold is silent")
	})
	t.Run("never spoke", func(t *testing.T) { // as the phone holds it the browser's shall not, and the phone's shall
		b := watched(t, "sendrecv", "sendonly")
		b.silenceOf(LegCore, fallsSilent, 1)
		b.runsFrom(time.Time{}, "the phone's second stream speaks")
		b.silenceOf(LegAccess, fallsSilent, 1)
		b.runsFrom(b.now, "the browser has one that shall speak")
	})
	t.Run("given up", func(t *testing.T) {
		b := watched(t, "sendrecv", "sendrecv")
		b.hold(2, "sendrecv", "")
		b.silenceOf(LegCore, fallsSilent, 1)
		b.runsFrom(b.now, "the other stream is given up")
	})
	t.Run("refused", func(t *testing.T) {
		b := watched(t, "sendrecv", "")
		b.silenceOf(LegAccess, fallsSilent, 1)
		b.runsFrom(b.now, "the other stream is refused")
	})
}

// TestIQ13_IQ35_SilenceOfARecordWithoutStreams: a record that says who is silent, not in which stream, is of the first one; what is known of streams survives.
func TestIQ13_IQ35_SilenceOfARecordWithoutStreams(t *testing.T) {
	b := watched(t, "sendrecv", "inactive")
	b.silenceOf(LegCore, fallsSilent, 1)
	since := b.now
	for _, old := range []bool{false, true} {
		raw, err := json.Marshal(b.s)
		if err != nil {
			t.Fatal(err)
		}
		if old {
			var rec map[string]json.RawMessage
			if err := json.Unmarshal(raw, &rec); err != nil || !strings.Contains(string(rec["heard"]), "quiet") {
				t.Fatalf("%v: %s", err, rec["heard"])
			}
			delete(rec, "heard")
			if raw, err = json.Marshal(rec); err != nil {
				t.Fatal(err)
			}
		}
		b.s = &State{}
		if err := json.Unmarshal(raw, b.s); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(time.Second)
		b.silenceOf(LegCore, speaksAgain, 2)
		b.runsFrom(since, "after a takeover")
	}
	b.silenceOf(LegCore, speaksAgain, 1)
	b.runsFrom(time.Time{}, "it speaks")
}
