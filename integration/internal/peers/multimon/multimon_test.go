package multimon

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// Each press is told once, the same key twice in a row too, and nothing else is taken for one, nor what is too faint for a receiver.
func TestDigits(t *testing.T) {
	var pcm []int16
	add := func(n int, src tone.Source) {
		block := make([]int16, n)
		src.Fill(block)
		pcm = append(pcm, block...)
	}
	add(tone.Rate/5, tone.Silence{})
	for _, d := range []byte(tone.Digits + "55") {
		add(tone.Rate/10, tone.DTMF(d, -12))
		add(tone.Rate/16, tone.Silence{})
	}
	add(tone.Rate/2, tone.NewSine(697, -12)) // half a digit
	add(tone.Rate/10, tone.Silence{})
	add(tone.Rate/10, tone.DTMF('8', -40))
	add(tone.Rate/10, tone.Silence{})
	got, err := Digits(t.Context(), pcm)
	if err != nil {
		t.Fatal(err)
	}
	if want := tone.Digits + "55"; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
	if got, err := Digits(t.Context(), nil); err != nil || got != "" {
		t.Errorf("heard %q, %v of nothing", got, err)
	}
}
