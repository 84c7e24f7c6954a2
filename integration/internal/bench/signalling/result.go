package signalling

import (
	"fmt"
	"io"
	"math"
	"slices"

	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// Results of a run.
type Results struct {
	Config Config
	Rows   []*Row
}

// Row is what was measured of one system.
type Row struct {
	System  string
	Samples []Sample
	KB      [2]*float64 // per idle connection, 1000 bytes: WS, WSS; nil: not measured
	Left    string      // what the controller still held in the end; empty: nothing

	before *adminv1.ControllerResourcesResponse
}

// Sample is one window.
type Sample struct {
	window
	Round   int
	Work    Work
	Offered offer
	Others  float64 // cores that other programs used meanwhile
}

func (r *Results) row(name string) *Row {
	if row := r.find(name); row != nil {
		return row
	}
	row := &Row{System: name}
	r.Rows = append(r.Rows, row)
	return row
}

func (r *Results) find(name string) *Row {
	if r == nil {
		return nil
	}
	for _, row := range r.Rows {
		if row.System == name {
			return row
		}
	}
	return nil
}

// behind is the least share of the offered rate that must have been finished within a window for it to be sustained.
const behind = 0.97

// fault says why the window does not count; empty: it does.
func (s *Sample) fault() string {
	if s.bad > 0 {
		return fmt.Sprintf("%d failed, the first: %s", s.bad, s.why)
	}
	for kind, offered := range [2]float64{s.Offered.registrations, s.Offered.calls} {
		if s.rate(kind) < behind*offered {
			return fmt.Sprintf("only %.0f of %.0f %s/s", s.rate(kind), offered, [2]string{"registrations", "calls"}[kind])
		}
	}
	return ""
}

// rate is what was finished per s.
func (s *Sample) rate(kind int) float64 { return float64(s.done[kind]) / max(s.length.Seconds(), 1e-9) }

// perThousand is CPU, s, per 1,000 registrations or calls; of both kinds at once, per second of load.
func (s *Sample) perThousand() float64 {
	switch s.Work {
	case Both:
		return s.used.Seconds() / s.length.Seconds()
	case Call:
		return 1000 * s.used.Seconds() / float64(max(s.done[call], 1))
	}
	return 1000 * s.used.Seconds() / float64(max(s.done[registration], 1))
}

func (s *Sample) line() string {
	text := fmt.Sprintf("%-8s %.3f CPU-s per 1,000", s.Work, s.perThousand())
	if s.Work == Both {
		text = fmt.Sprintf("%-8s %.3f cores", s.Work, s.perThousand())
	}
	if s.Offered.registrations > 0 {
		text += fmt.Sprintf(", %.0f registrations/s", s.rate(registration))
	}
	if s.Offered.calls > 0 {
		text += fmt.Sprintf(", %.1f calls/s, set-up p50 %.1f p99 %.0f ms", s.rate(call), s.p50.Seconds()*1e3, s.p99.Seconds()*1e3)
	}
	text += fmt.Sprintf(", others use %.1f cores", s.Others)
	if f := s.fault(); f != "" {
		text += "  NOT COUNTED: " + f
	}
	return text
}

// values are those of the windows that count, by round.
func (r *Row) values(w Work, value func(*Sample) float64) map[int]float64 {
	out := map[int]float64{}
	if r == nil {
		return out
	}
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Work == w && s.fault() == "" {
			out[s.Round] = value(s)
		}
	}
	return out
}

// spread is a median with lowest and highest.
type spread struct{ median, low, high float64 }

func summarise(values map[int]float64) *spread {
	if len(values) == 0 {
		return nil
	}
	v := make([]float64, 0, len(values))
	for _, x := range values {
		v = append(v, x)
	}
	slices.Sort(v)
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (m + v[len(v)/2-1]) / 2
	}
	return &spread{m, v[0], v[len(v)-1]}
}

// ratio divides within each round that both have.
func ratio(a, b map[int]float64) map[int]float64 {
	out := map[int]float64{}
	for round, x := range a {
		if y := b[round]; y != 0 {
			out[round] = x / y
		}
	}
	return out
}

func (s *spread) text() string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%.3f (%.3f-%.3f)", s.median, s.low, s.high)
}

func (s *spread) value() *float64 {
	if s == nil {
		return nil
	}
	v := math.Round(s.median*1000) / 1000
	return &v
}

// Print writes the table and the goals.
func (r *Results) Print(w io.Writer) {
	if r == nil {
		return
	}
	fmt.Fprintf(w, "\n%-10s %-22s %-22s %-22s %-22s %-9s %s\n", "signalling", "CPU-s/1,000 reg.", "with digest", "CPU-s/1,000 calls", "cores with both", "kB/WS", "kB/WSS")
	for _, row := range r.Rows {
		fmt.Fprintf(w, "%-10s", row.System)
		for _, k := range []Work{Register, Digest, Call, Both} {
			fmt.Fprintf(w, " %-22s", summarise(row.values(k, (*Sample).perThousand)).text())
		}
		for _, kb := range row.KB {
			if kb == nil {
				fmt.Fprintf(w, " %-9s", "-")
			} else {
				fmt.Fprintf(w, " %-9.1f", *kb)
			}
		}
		fmt.Fprintln(w)
	}
	s := r.Summary()
	for _, t := range []struct {
		what  string
		value *float64
		bound float64
	}{
		{"registrations / kamailio", s.RegKamailio, 1.5}, {"with digest / kamailio", s.DigestKamailio, 1.5}, {"calls / kamailio", s.CallKamailio, 1.5},
		{"WS memory / kamailio", s.MemoryKamailio, 0.5}, {"kB per WSS connection", s.KBWSS, 35},
	} {
		verdict, value := "not measured", "-"
		if t.value != nil {
			value, verdict = fmt.Sprintf("%.2f", *t.value), "missed"
			if *t.value <= t.bound {
				verdict = "met"
			}
		}
		fmt.Fprintf(w, "%-26s %8s   goal <= %-5g %s\n", t.what, value, t.bound, verdict)
	}
}

// Others is the median of what other programs used during the windows, cores; nil: nothing was measured.
func (r *Results) Others() *float64 {
	all := map[int]float64{}
	if r != nil {
		for _, row := range r.Rows {
			for i := range row.Samples {
				all[len(all)] = row.Samples[i].Others
			}
		}
	}
	return summarise(all).value()
}

// Failure says what a run shows to be wrong with the controller: a window that failed, something left; empty: nothing.
func (r *Results) Failure() string {
	row := r.find(isthmus)
	if row == nil {
		return ""
	}
	if row.Left != "" {
		return "the controller still holds " + row.Left
	}
	for i := range row.Samples {
		if s := &row.Samples[i]; s.bad > 0 {
			return fmt.Sprintf("%s, round %d: %s", s.Work, s.Round+1, s.fault())
		}
	}
	return ""
}

// Summary is this part of the JSON object that ends the output. null: not measured, or no window of it counted.
type Summary struct {
	Registrations  *float64 `json:"registrations_per_s"` // sustained without a failure
	Calls          *float64 `json:"calls_per_s"`
	Reg            *float64 `json:"reg_cpu_s_per_1000"`
	RegKamailio    *float64 `json:"reg_vs_kamailio"`
	Call           *float64 `json:"call_cpu_s_per_1000"`
	CallKamailio   *float64 `json:"call_vs_kamailio"`
	KBWS           *float64 `json:"kb_per_ws_connection"`
	KBWSS          *float64 `json:"kb_per_wss_connection"`
	MemoryKamailio *float64 `json:"ws_memory_vs_kamailio"`
	Digest         *float64 `json:"reg_digest_cpu_s_per_1000"`
	DigestKamailio *float64 `json:"reg_digest_vs_kamailio"`
	KamailioReg    *float64 `json:"kamailio_reg_cpu_s_per_1000"`
	KamailioCall   *float64 `json:"kamailio_call_cpu_s_per_1000"`
	KamailioKBWS   *float64 `json:"kamailio_kb_per_ws_connection"`
	KamailioKBWSS  *float64 `json:"kamailio_kb_per_wss_connection"`
	SetUpP99       *float64 `json:"call_set_up_p99_ms"`
}

// Summary reduces the results; all is null of none.
func (r *Results) Summary() Summary {
	ours, theirs := r.find(isthmus), r.find(kamailio)
	one := func(row *Row, w Work) *float64 { return summarise(row.values(w, (*Sample).perThousand)).value() }
	both := func(w Work) *float64 {
		return summarise(ratio(ours.values(w, (*Sample).perThousand), theirs.values(w, (*Sample).perThousand))).value()
	}
	s := Summary{
		Registrations: summarise(ours.values(Register, func(s *Sample) float64 { return s.rate(registration) })).value(),
		Calls:         summarise(ours.values(Call, func(s *Sample) float64 { return s.rate(call) })).value(),
		Reg:           one(ours, Register), RegKamailio: both(Register), Digest: one(ours, Digest), DigestKamailio: both(Digest),
		Call: one(ours, Call), CallKamailio: both(Call), KamailioReg: one(theirs, Register), KamailioCall: one(theirs, Call),
		SetUpP99: summarise(ours.values(Call, func(s *Sample) float64 { return s.p99.Seconds() * 1e3 })).value(),
	}
	s.KBWS, s.KBWSS = ours.kb(false), ours.kb(true)
	s.KamailioKBWS, s.KamailioKBWSS = theirs.kb(false), theirs.kb(true)
	if s.KBWS != nil && s.KamailioKBWS != nil && *s.KamailioKBWS > 0 {
		v := math.Round(1000**s.KBWS / *s.KamailioKBWS) / 1000
		s.MemoryKamailio = &v
	}
	return s
}

func (r *Row) kb(secure bool) *float64 {
	if r == nil || r.KB[index(secure)] == nil {
		return nil
	}
	v := math.Round(*r.KB[index(secure)]*10) / 10
	return &v
}
