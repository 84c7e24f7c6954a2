package signals

import "maps"

// maxFrequencies bounds what sounds at once.
const maxFrequencies = 2

// Tone is the cadence of a tone; after its last segment the first one comes again.
type Tone struct {
	Segments []Segment
	// Brief is how many rounds are played unless it is said otherwise; 0: it has no end.
	Brief int
}

// Segment is a part of a cadence.
type Segment struct {
	Hz [maxFrequencies]float64 // what sounds together; zeros at the end; all zero: a pause
	MS int64                   // length; 0: without end
}

func (g *Segment) ticks() int64 { return g.MS * (base / 1000) }

// The power of a tone is -10 dBm0 (ITU-T E.180 §3), shared by what sounds together. A sine of 0 dBm0 has an amplitude of 22827: the largest
// sample is 3.14 dBm0 (ITU-T G.711 §2).
const (
	single = 7219 // -10 dBm0
	shared = 5110 // -13 dBm0
)

func (g *Segment) level() float64 {
	if g.Hz[1] != 0 {
		return shared
	}
	return single
}

// Names of the tones, by package and signal (H.248.1 §E.7; srvtn: basic services tones).
const (
	Dial         = "cg/dt"
	Ringing      = "cg/rt"
	Busy         = "cg/bt"
	Congestion   = "cg/ct"
	SpecialInfo  = "cg/sit"
	CallWaiting  = "cg/cw"
	Confirmation = "srvtn/conf"
)

// Plan is the tones of a country by name.
type Plan map[string]*Tone

// Plans are the names of the plans there are.
var Plans = []string{"eu", "us", "uk"}

func on(ms int64, hz ...float64) Segment {
	g := Segment{MS: ms}
	copy(g.Hz[:], hz)
	return g
}

func off(ms int64) Segment { return Segment{MS: ms} }

func cadence(segments ...Segment) *Tone { return &Tone{Segments: segments} }

func brief(rounds int, segments ...Segment) *Tone { return &Tone{Segments: segments, Brief: rounds} }

// special is the special information tone, the same everywhere (ITU-T E.180 §7).
var special = brief(3, on(330, 950), on(330, 1400), on(330, 1800), off(1000))

// plans: ITU-T E.180 Supplement 2 and ETSI TR 101 041-2 for Europe; the precise tone plan for the US; BT SIN 350 for the UK, whose
// confirmation is the US one.
var plans = map[string]Plan{
	"eu": {
		Dial:         cadence(on(0, 425)),
		Ringing:      cadence(on(1000, 425), off(4000)),
		Busy:         cadence(on(500, 425), off(500)),
		Congestion:   cadence(on(250, 425), off(250)),
		SpecialInfo:  special,
		CallWaiting:  brief(2, on(150, 425), off(150), on(150, 425), off(5000)),
		Confirmation: brief(1, on(1000, 425)),
	},
	"us": {
		Dial:         cadence(on(0, 350, 440)),
		Ringing:      cadence(on(2000, 440, 480), off(4000)),
		Busy:         cadence(on(500, 480, 620), off(500)),
		Congestion:   cadence(on(250, 480, 620), off(250)),
		SpecialInfo:  special,
		CallWaiting:  brief(2, on(300, 440), off(9700)),
		Confirmation: brief(3, on(100, 350, 440), off(100)),
	},
	"uk": {
		Dial:         cadence(on(0, 350, 450)),
		Ringing:      cadence(on(400, 400, 450), off(200), on(400, 400, 450), off(2000)),
		Busy:         cadence(on(375, 400), off(375)),
		Congestion:   cadence(on(400, 400), off(350), on(225, 400), off(525)),
		SpecialInfo:  special,
		CallWaiting:  brief(2, on(100, 400), off(2000)),
		Confirmation: brief(3, on(100, 350, 450), off(100)),
	},
}

// PlanOf is the plan of a name; false when there is none. It is a copy; the tones in it are shared.
func PlanOf(name string) (Plan, bool) {
	p, ok := plans[name]
	return maps.Clone(p), ok
}
