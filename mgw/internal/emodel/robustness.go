package emodel

import "github.com/isthmus-gateway/isthmus/pkg/codec"

// robustness is how a codec sounds without loss and how it bears loss (G.107 §7.5): equipment impairment factor and packet-loss robustness
// factor, with the receiver's concealment.
type robustness struct{ ie, bpl float64 }

// robustnessOf is from G.113 appendix I where that has the codec. Opus and G.722 are not in its narrow-band table: they get the values of
// G.711 with concealment, which understates Opus with forward error correction.
func robustnessOf(c codec.Codec) robustness {
	switch {
	case c.Is(codec.AMR):
		return robustness{5, 10} // GSM-EFR, which is AMR 12.2
	case c.Is("G729"):
		return robustness{11, 19}
	}
	return robustness{0, 25.1} // G.711 with concealment (appendix I of G.711)
}
