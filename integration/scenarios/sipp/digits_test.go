package sipp

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

// key is an INFO of sipp.
type key struct {
	Type, Body string
	Status     int // of the answer to it
}

// keys are a press each, as telephones write them, but for those that are refused: 5 5 # 0 D *.
var keys = []key{
	{"dtmf-relay", "Signal=5\nDuration=160", 200},
	{"dtmf-relay", "Signal= 5\nDuration= 100", 200}, // with blanks; and pressed again
	{"dtmf", "#", 200},
	{"dtmf-relay", "Signal=E\nDuration=160", 400},
	{"dtmf-relay", "Duration=0\nSignal=0", 200},
	{"dtmf", "d", 200},
	{"dtmf", "", 400},
	{"dtmf", "10", 200}, // by its event code
}

const pressed = "55#0D*"

// TestDigitsFromCore: keys that sipp presses by INFO are telephone-events in the browser, one for each press.
func TestDigitsFromCore(t *testing.T) {
	both(t, "R4733_digits_by_INFO", func(t *testing.T, transport string) {
		b := newBrowser(t, transport, nowhere, func(c *webua.Config) { c.Events = true })
		r := fromCore(t, "uac_digits", transport, b.caller().with("Keys", keys))
		ctx := scenario.Within(t, patience)
		call := b.answered(ctx, t)
		scenario.Until(ctx, t, "the browser's media to be connected", func() (bool, any) { return !call.Result().Connected.IsZero(), nil })
		if _, err := call.Request(ctx, "INFO", []string{"Content-Type: application/vnd.example.lamp"}, "Lamp=1\r\n"); err != nil { // now press
			t.Fatal(err)
		}
		var last webua.Result
		scenario.Until(ctx, t, "the digits "+pressed+" in the browser", func() (bool, any) {
			last = call.Result()
			return len(last.Digits) >= len(pressed), last.Digits
		})
		// The last one's end is on its way; a second event for it would come before.
		scenario.Until(ctx, t, "the end of the last digit", func() (bool, any) {
			last = call.Result()
			return last.Ended, last.Digits
		})
		if last.Digits != pressed || last.Unended != 0 || last.DigitsClock != 8000 {
			t.Errorf("the browser heard %q at %d Hz, %d of them without end; want %q", last.Digits, last.DigitsClock, last.Unended, pressed)
		}
		if err := call.Hangup(ctx); err != nil {
			t.Error(err)
		}
		for _, m := range b.ladder.received("INFO") {
			t.Errorf("an INFO reached the browser too: %q", m.Body)
		}
		if n := len(r.done(ctx).Received("200 INFO")); n != len(pressed) {
			t.Errorf("%d INFO were accepted, want %d", n, len(pressed))
		}
	})
}
