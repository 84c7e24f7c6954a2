package transcode

// opusClock is the RTP clock of Opus whatever the audio bandwidth, Hz (RFC 7587 §4.1).
const opusClock = 48000

// opusTicks is the duration of an Opus packet in 48 kHz ticks by its TOC byte and frame count, 0 when the packet is malformed
// or longer than 120 ms (RFC 6716 §3.1, §3.2).
func opusTicks(p []byte) uint32 {
	if len(p) == 0 {
		return 0
	}
	frames := uint32(1)
	switch p[0] & 3 {
	case 1, 2:
		frames = 2
	case 3:
		if len(p) < 2 {
			return 0
		}
		frames = uint32(p[1] & 0x3f)
	}
	n := frames * opusFrameTicks(p[0])
	if n > opusClock*MaxFrame/1000 {
		return 0
	}
	return n
}

// opusFrameTicks is the length of one frame by the configuration number of the TOC byte (RFC 6716 §3.1 table 2).
func opusFrameTicks(toc byte) uint32 {
	config := toc >> 3
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		return [4]uint32{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		return [2]uint32{480, 960}[config&1]
	default: // CELT: 2.5, 5, 10, 20 ms
		return [4]uint32{120, 240, 480, 960}[config&3]
	}
}
