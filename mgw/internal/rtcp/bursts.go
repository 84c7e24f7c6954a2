package rtcp

// gmin is the least number of packets received in a row that ends a burst (RFC 3611 §4.7.2).
const gmin = 16

// bursts counts transitions between received and lost packets in bursts and in gaps, as RFC 3611 §A.2 has them. It follows the source's
// numbers; a packet that comes late counts as lost until it comes.
type bursts struct {
	run                          uint64 // packets since the newest loss
	lost                         uint64 // losses since the burst, or the lonely loss, began
	c11, c13, c14, c22, c23, c33 uint64
	missing                      uint64 // losses, without what came late
	total                        uint64 // packets expected
}

func (b *bursts) received() {
	b.total++
	b.run++
}

// missed takes n losses in a row.
func (b *bursts) missed(n int) {
	if n <= 0 {
		return
	}
	rest := uint64(n - 1) // follow a loss at once
	b.total += 1 + rest
	b.missing += 1 + rest
	switch {
	case b.run >= gmin:
		if b.lost == 1 {
			b.c14++
		} else {
			b.c13++
		}
		b.lost = 1
		b.c11 += b.run
	case b.run == 0:
		b.lost++
		b.c33++
	default:
		b.lost++
		b.c23++
		b.c22 += b.run - 1
	}
	b.lost += rest
	b.c33 += rest
	b.run = 0
}

// late takes back one loss: the packet has come after all.
func (b *bursts) late() {
	if b.missing > 0 {
		b.missing--
	}
}

// fill computes the figures of a block. frame: duration of a packet, ns. discarded: packets that came too late to be played.
func (b *bursts) fill(v *VoIP, frame int64, discarded uint64) {
	if b.total == 0 {
		return
	}
	v.LossRate, v.DiscardRate = share256(b.missing, b.total), share256(discarded, b.total)
	// The packets since the newest loss are a gap once there are enough of them.
	c11, c13, c14 := b.c11, b.c13, b.c14
	if b.run >= gmin || b.total == b.run {
		c11 += b.run
	}
	c31, c32 := c13, b.c23
	v.GapDensity = share256(c14, c11+c14)
	if c13 == 0 {
		v.GapDuration = millis(int64(c11+c14) * frame)
		return
	}
	all := c11 + c14 + c13 + b.c22 + b.c23 + c31 + c32 + b.c33
	p32 := float64(c32) / float64(c31+c32+b.c33)
	p23 := 1.0
	if b.c22+b.c23 > 0 {
		p23 = 1 - float64(b.c22)/float64(b.c22+b.c23)
	}
	v.BurstDensity = uint8(min(256*p23/(p23+p32), 255))
	gap := int64(c11+c14+c13) * frame / int64(c13)
	v.GapDuration = millis(gap)
	v.BurstDuration = millis(int64(all)*frame/int64(c13) - gap)
}

func share256(n, of uint64) uint8 {
	if of == 0 {
		return 0
	}
	return uint8(min(256*n/of, 255))
}
