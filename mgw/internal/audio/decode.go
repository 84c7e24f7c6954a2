package audio

import "github.com/isthmus-gateway/isthmus/mgw/internal/jitter"

// convert brings decoded audio to the encoder's rate.
func (d *Direction) convert(pcm []int16) []int16 {
	if d.rate == nil {
		return pcm
	}
	return d.conv[:d.rate.Process(pcm, d.conv)]
}

// decode turns what the jitter buffer gave into PCM.
func (d *Direction) decode(r jitter.Result) []int16 {
	n := min(int(uint64(r.Dur)*uint64(d.decRate)/uint64(d.cfg.Src.ClockRate)), len(d.work))
	pcm := d.work[:n]
	switch r.Kind {
	case jitter.Frame:
		d.missed(!r.Resumed)
		d.row++
		if r.First {
			d.begin()
		}
		got, err := d.play(r)
		if err == nil {
			pcm = d.work[:got]
			if r.First {
				d.seam(pcm)
			}
			d.bed.heard(pcm)
			d.stats.Decoded++
			return pcm
		}
		d.stats.Malformed++
	case jitter.Lost:
		d.missed(true)
		if r.FEC != nil && d.dec.Recover(r.FEC, pcm) {
			d.bed.heard(pcm)
			d.stats.Recovered++
			return pcm
		}
		d.stats.Concealed++
		if r.FEC != nil { // the codec has concealed it
			d.bed.under(pcm)
			return pcm
		}
	case jitter.Noise:
		d.bed.tell(r.Payload)
	case jitter.Wait:
		d.row = 0
		if d.from == nil || !d.from.Silent() { // else the source pauses: its comfort noise goes on
			d.waited++
		}
	}
	d.conceal(pcm)
	return pcm
}

// missed settles what the frames concealed while waiting were: lost audio, or a pause of the source.
func (d *Direction) missed(lost bool) {
	if lost {
		d.stats.Concealed += uint64(d.waited)
	}
	d.waited = 0
}

// play decodes a packet, without what was played of it already where the codec can tell its frames apart.
func (d *Direction) play(r jitter.Result) (int, error) {
	if d.from != nil {
		return d.from.DecodeAfter(r.Past, r.Payload, d.work)
	}
	return d.dec.Decode(r.Payload, d.work)
}

// begin prepares the decoder for the first packet of another source and keeps a continuation of the one before, for seam.
func (d *Direction) begin() {
	d.conceal(d.tail)
	d.dec.Reset()
}

// seam fades from what was heard before into the begin of pcm.
func (d *Direction) seam(pcm []int16) {
	n := min(len(d.tail), len(pcm))
	for i := range n {
		pcm[i] = fade(d.tail[i], pcm[i], i, n)
	}
}

// conceal fills pcm with the continuation of what was heard last, down to the noise of the source.
func (d *Direction) conceal(pcm []int16) {
	d.dec.Conceal(pcm)
	d.bed.under(pcm)
}
