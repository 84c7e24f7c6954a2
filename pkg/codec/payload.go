package codec

// SamePayload reports whether c and d stand for one payload format in an offer and its answer: the same codec and payloads packed alike
// (RFC 4867 §8.3.1). One may still take fewer modes than the other; SameFormat says whether packets can be relayed.
func (c Codec) SamePayload(d Codec) bool {
	return c.SameCodec(d) && (!c.IsAMR() || c.packing() == d.packing())
}
