package policy

import "slices"

// requested returns the media to ask for: those of the call, or while several early dialogs are open the widest of all
// (TS 29.214 §A.3.1): every flow, the union of the directions, the highest bandwidths. forked tells that there are several.
func (f *Facts) requested() (media []Media, forked bool) {
	if f.Status == Final || len(f.Forks) == 0 {
		return f.Media, false
	}
	media = slices.Clone(f.Media)
	for _, fork := range f.Forks {
		for _, m := range fork {
			i := slices.IndexFunc(media, func(x Media) bool { return x.Number == m.Number })
			if i < 0 {
				media = append(media, m)
				continue
			}
			media[i] = wider(media[i], m)
		}
	}
	slices.SortFunc(media, func(a, b Media) int { return a.Number - b.Number })
	return media, true
}

// wider joins two descriptions of the same media line.
func wider(a, b Media) Media {
	switch {
	case a.Removed:
		return b
	case b.Removed:
		return a
	}
	a.Direction = direction(a.Direction.sends() || b.Direction.sends(), a.Direction.receives() || b.Direction.receives())
	a.BandwidthUp = widestRate(a.BandwidthUp, b.BandwidthUp)
	a.BandwidthDown = widestRate(a.BandwidthDown, b.BandwidthDown)
	a.RTCPSenders = widestShare(a.RTCPSenders, b.RTCPSenders)
	a.RTCPReceivers = widestShare(a.RTCPReceivers, b.RTCPReceivers)
	if len(b.Codecs) > len(a.Codecs) {
		a.Codecs = b.Codecs
	}
	a.Flows = slices.Clone(a.Flows)
	for _, fl := range b.Flows {
		if !slices.ContainsFunc(a.Flows, func(x Flow) bool { return x.RTCP == fl.RTCP }) {
			a.Flows = append(a.Flows, fl)
		}
	}
	return a
}

// widestRate is the higher rate; one that is not known may be any, and so may the outcome.
func widestRate(a, b uint64) uint64 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

func widestShare(a, b *uint64) *uint64 {
	if a == nil || b == nil {
		return nil
	}
	w := max(*a, *b)
	return &w
}

func (d Direction) sends() bool    { return d == SendRecv || d == SendOnly }
func (d Direction) receives() bool { return d == SendRecv || d == RecvOnly }

func direction(sends, receives bool) Direction {
	switch {
	case sends && receives:
		return SendRecv
	case sends:
		return SendOnly
	case receives:
		return RecvOnly
	}
	return Inactive
}
