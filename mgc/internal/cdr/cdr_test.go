package cdr

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/pkg/conf"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

var update = flag.Bool("update", false, "rewrite the goldens")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConfig is what an operator writes, with the defaults of the tags.
func testConfig(t testing.TB, dir string, lines ...string) Config {
	t.Helper()
	var c Config
	if err := conf.Load(&c, conf.Options{Name: "t", EnvPrefix: "T", Args: append([]string{"--dir=" + dir}, lines...), Env: []string{}}); err != nil {
		t.Fatal(err)
	}
	return c
}

func newWriter(t testing.TB, cfg Config, disk opener) (*Writer, error) {
	if disk == nil {
		disk = openAppend
	}
	return open(cfg, "mgc-1", NewMetrics(prometheus.NewRegistry()), zaptest.NewLogger(t), disk)
}

func mustOpen(t testing.TB, cfg Config, disk opener) *Writer {
	t.Helper()
	w, err := newWriter(t, cfg, disk)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustClose(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func rec(call string, seq uint32, typ Type) Record {
	return Record{Call: call, Seq: seq, Type: typ, Time: time.Date(2026, 1, 2, 3, 4, 5, int(seq), time.UTC)}
}

// put waits until the record is kept.
func put(t testing.TB, w *Writer, r Record) {
	t.Helper()
	done := make(chan error, 1)
	if err := w.Put(r, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// ids lists what Read gives.
func ids(t testing.TB, dir string) ([]string, Found) {
	t.Helper()
	var out []string
	f, err := Read(dir, func(r Record) error { out = append(out, r.ID+":"+string(r.Type)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out, f
}

func TestCHG01_GoldenRecords(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 5, 6, 7, 8, s, 0, time.UTC) }
	var p Progress
	base := Record{Call: "call-1", ICID: "icid-1", ICIDNode: "192.0.2.1", OrigIOI: "Type 1visited.example", TermIOI: "home.example", Method: "INVITE", Direction: "originating",
		SessionID: "ab30317f1a784dc48ff824d0d3715d86", AccessID: "a@browser", CoreID: "c@isthmus", Calling: "sip:alice@home.example", Called: "tel:+4912345", Requested: "tel:+4912345;phone-context=x",
		UserAddress: "10.45.0.2", AccessInfo: "3GPP-NR;utran-cell-id-3gpp=2620100abcd012345678", Request: at(0), Begin: at(3), Status: 200,
		AccessCodec: "opus/48000/2", CoreCodec: "AMR-WB/16000", MGW: "mgw-1", Context: "7"}
	start, interim, stop, failed := base, base, base, base
	start.Type, start.Seq, _ = p.Answered()
	start.Time = at(3)
	start.Media = []Media{{Time: at(0), From: "access", Kind: "offer", Lines: []Line{{Number: 1, Type: "audio", Direction: "sendrecv", Codecs: []string{"opus/48000/2", "PCMA/8000"}, Bandwidth: 64, Peer: "10.45.0.2:9", Local: "192.0.2.10:40000"}, {Number: 2, Type: "video", Refused: true}}}}
	interim.Type, interim.Seq, _ = p.Changed()
	interim.Time = at(10)
	interim.Media = []Media{{Time: at(10), From: "core", Kind: "offer", Lines: []Line{{Number: 1, Type: "audio", Direction: "sendonly", Codecs: []string{"AMR-WB/16000"}}}}}
	stop.Type, stop.Seq, _ = p.Ended()
	stop.Time, stop.End, stop.DurationMS, stop.Cause, stop.CauseCode = at(20), at(20), 17000, "hangup_core", CauseCode(true, true, 200)
	stop.Streams = []Stream{StreamOf("access", &iqv1.Statistics{StreamId: 1, OctetsSent: 1000, OctetsReceived: 2000, PacketsSent: 10, PacketsReceived: 20, PacketsLost: 3, JitterUs: 4500, RttUs: 30000,
		RemoteLossPermille: 12, CodecReceived: "opus/48000/2", CodecSent: "opus/48000/2", Transcoding: true, FramesConcealed: 2, FramesRecovered: 1, PacketsLate: 1, Dropped: map[string]uint64{"source": 2}, Duration: durationpb.New(17 * time.Second),
		MosCenti: 410, RemoteMosCenti: 395})}
	failed.Call, failed.Begin, failed.Emergency, failed.Status = "call-2", time.Time{}, true, 486
	var q Progress
	failed.Type, failed.Seq, _ = q.Ended()
	failed.Time, failed.Cause, failed.CauseCode, failed.Reason = at(2), "rejected", CauseCode(false, false, 486), `Q.850;cause=17`

	dir := t.TempDir()
	w := mustOpen(t, testConfig(t, dir), nil)
	for _, r := range []Record{start, interim, stop, failed} {
		put(t, w, r)
	}
	mustClose(t, w)
	got, err := os.ReadFile(filepath.Join(dir, "cdr-mgc-1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "call.jsonl")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s", err, got)
	}
	r := NewReader(bytes.NewReader(got))
	for _, want := range []Record{start, interim, stop, failed} {
		want.ID, want.Role, want.Instance = want.name(), "P-CSCF", "mgc-1"
		if back, err := r.Next(); err != nil || !reflect.DeepEqual(back, want) {
			t.Errorf("%v\n%+v\n%+v", err, back, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "cdr-mgc-1.jsonl")); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("everybody may read: %v %v", info.Mode(), err)
	}
}

// TestREL07_OneEndWhateverHappens drives a call's Progress through every order of three moments.
func TestREL07_OneEndWhateverHappens(t *testing.T) {
	moments := []func(*Progress) (Type, uint32, bool){(*Progress).Answered, (*Progress).Changed, (*Progress).Ended}
	const n = 6
	for code := range 729 { // 3^6 orders
		var p Progress
		var got []Type
		for i, c := 0, code; i < n; i, c = i+1, c/3 {
			text, err := json.Marshal(p) // a successor goes on
			if err != nil {
				t.Fatal(err)
			}
			var q Progress
			if err := json.Unmarshal(text, &q); err != nil || q != p {
				t.Fatalf("%s %+v %v", text, q, err)
			}
			p = q
			typ, seq, ok := moments[c%3](&p)
			if !ok {
				continue
			}
			if got = append(got, typ); int(seq) != len(got) {
				t.Fatalf("%d: number %d of %v", code, seq, got)
			}
		}
		line := fmt.Sprint(got)
		ok := false
		for _, form := range []string{"[]", "[event]", "[start]", "[start stop]"} {
			ok = ok || line == form || strings.HasPrefix(form, "[start") && strings.ReplaceAll(line, " interim", "") == form
		}
		if !ok {
			t.Errorf("%d: %v", code, got)
		}
	}
	for _, c := range []struct {
		answered, byUser bool
		status, want     int
	}{{true, true, 200, 0}, {true, false, 200, 1}, {false, false, 486, -486}, {false, false, 302, -302}, {false, false, 200, -1}, {false, true, 0, 2}} {
		if got := CauseCode(c.answered, c.byUser, c.status); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestREL07_DuplicatesAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, testConfig(t, dir), nil)
	for _, r := range []Record{rec("a", 1, Start), rec("a", 1, Start), rec("a", 2, Stop), rec("a", 2, Stop), rec("a", 3, Stop), rec("a", 4, Interim), rec("b", 1, Event), rec("b", 2, Event)} {
		put(t, w, r)
	}
	mustClose(t, w)
	if got := testutil.ToFloat64(w.metrics.duplicates); got != 5 {
		t.Errorf("%v duplicates", got)
	}
	w = mustOpen(t, testConfig(t, dir), nil) // a restart remembers
	put(t, w, rec("a", 2, Stop))
	put(t, w, rec("b", 1, Event))
	put(t, w, rec("c", 1, Start))
	mustClose(t, w)
	small := testConfig(t, dir)
	small.Size = 1 // the next record closes the file
	w = mustOpen(t, small, nil)
	put(t, w, rec("c", 2, Stop))
	mustClose(t, w)
	w = mustOpen(t, testConfig(t, dir), nil) // also across a closed file
	put(t, w, rec("c", 2, Stop))
	put(t, w, rec("a", 3, Stop))
	mustClose(t, w)
	got, f := ids(t, dir)
	if want := []string{"a.1:start", "a.2:stop", "b.1:event", "c.1:start", "c.2:stop"}; !reflect.DeepEqual(got, want) || f.Duplicates != 0 {
		t.Errorf("%v %+v", got, f)
	}
}

func TestREL07_ReadLeavesOutWhatASuccessorWroteAgain(t *testing.T) {
	dir := t.TempDir()
	for _, instance := range []string{"mgc-2", "mgc-1", "mgc"} {
		w, err := Open(testConfig(t, dir), instance, NewMetrics(prometheus.NewRegistry()), zaptest.NewLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		put(t, w, rec("a", 1, Start))
		if instance == "mgc-2" {
			put(t, w, rec("a", 2, Interim))
			put(t, w, rec("a", 3, Stop))
		} else {
			put(t, w, rec("a", 2, Stop))
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	got, f := ids(t, dir)
	if want := []string{"a.1:start", "a.2:stop"}; !reflect.DeepEqual(got, want) || f.Files != 3 || f.Duplicates != 5 {
		t.Errorf("%v %+v", got, f)
	}
}

func TestRecordsAreChecked(t *testing.T) {
	w := mustOpen(t, testConfig(t, t.TempDir()), nil)
	defer mustClose(t, w)
	for _, r := range []Record{{}, {Call: "a", Seq: 1}, {Call: "a", Type: Stop}, {Seq: 1, Type: Stop}, {Call: strings.Repeat("a", 300), Seq: 1, Type: Stop}} {
		if err := w.Put(r, nil); !errors.Is(err, ErrRecord) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	odd := rec("a", 1, Event)
	odd.Streams = []Stream{{MOS: math.NaN(), JitterMS: math.Inf(1)}}
	put(t, w, odd)
	huge := rec("b", 1, Event)
	huge.Reason = strings.Repeat("x", maxLine)
	done := make(chan error, 1)
	if err := w.Put(huge, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrRecord) {
		t.Errorf("too long: %v", err)
	}
	if got, _ := ids(t, w.cfg.Dir); !reflect.DeepEqual(got, []string{"a.1:event"}) {
		t.Errorf("%v", got)
	}
}

func TestConfigAndNamesAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--size=1"}, {"--age=0s"}, {"--queue=1"}, {"--linger=1h"}, {"--known=1"}} {
		var c Config
		if err := conf.Load(&c, conf.Options{Name: "t", EnvPrefix: "T", Args: args, Env: []string{}}); err == nil {
			t.Errorf("%v accepted", args)
		}
	}
	for _, name := range []string{"", "../x", "a/b", "-a", "a b", strings.Repeat("a", 101)} {
		if _, err := Open(testConfig(t, t.TempDir()), name, NewMetrics(prometheus.NewRegistry()), zaptest.NewLogger(t)); err == nil {
			t.Errorf("instance %q accepted", name)
		}
	}
	if problems, err := testutil.GatherAndLint(func() *prometheus.Registry { r := prometheus.NewRegistry(); NewMetrics(r); return r }()); err != nil || len(problems) > 0 {
		t.Errorf("metric names: %v %v", problems, err)
	}
}

func TestCHG03_Vector(t *testing.T) {
	v := ParseVector(`icid-value="AyretyU0dm+6O2IrT5tAFrbHLso=;x\"y";icid-generated-at=192.0.6.8; Orig-IOI=home1.net ;term-ioi="Type 1visited1.net";charge=1`)
	if want := (Vector{`AyretyU0dm+6O2IrT5tAFrbHLso=;x"y`, "192.0.6.8", "home1.net", "Type 1visited1.net"}); v != want {
		t.Errorf("%+v", v)
	}
	if back := ParseVector(v.String()); back != v {
		t.Errorf("%s: %+v", v, back)
	}
	if got := v.Request("").String(); got != `icid-value="AyretyU0dm+6O2IrT5tAFrbHLso=;x\"y";icid-generated-at=192.0.6.8` {
		t.Errorf("same operator: %s", got)
	}
	if got := v.Request("visited2.net"); got.OrigIOI != "Type 1visited2.net" || got.TermIOI != "" {
		t.Errorf("roaming: %+v", got)
	}
	if got := v.Response("visited2.net"); got.OrigIOI != "home1.net" || got.TermIOI != "Type 1visited2.net" {
		t.Errorf("roaming, response: %+v", got)
	}
	if got := (Vector{ICID: "a\r\nEvil: 1"}).String(); strings.ContainsAny(got, "\r\n") {
		t.Errorf("%q", got)
	}
	for _, bad := range []string{"", ";", `icid-value="`, `"`, `icid-value="\`, "\\"} {
		if got := ParseVector(bad).Request("x"); strings.Contains(got.ICID, "x") {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	if (Vector{}).String() != "" {
		t.Error("without an ICID")
	}
}

// FuzzReader: whatever a file holds, reading ends, offsets never pass the input, and the records read are valid.
func FuzzReader(f *testing.F) {
	line, _ := json.Marshal(Record{ID: "a.1", Call: "a", Seq: 1, Type: Event})
	f.Add(append(append(line, '\n'), line...))
	f.Add(append(line, "\n{\"id\":\"b.1\"\n\x00\x00\x00"...))
	f.Add([]byte("\n\n\n"))
	f.Add(bytes.Repeat([]byte("x"), maxLine+10))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		for n := 0; ; n++ {
			rec, err := r.Next()
			if n > len(in)+1 || r.offset > int64(len(in)) {
				t.Fatalf("no end: %d, offset %d of %d", n, r.offset, len(in))
			}
			switch {
			case err == nil:
				if cerr := rec.check(); cerr != nil || rec.ID != rec.name() {
					t.Errorf("%+v: %v", rec, cerr)
				}
			case errors.Is(err, ErrDamaged):
			case errors.Is(err, ErrTorn):
				if r.offset == int64(len(in)) {
					t.Error("torn, and nothing there")
				}
				return
			case err == io.EOF:
				if len(in) > 0 && in[len(in)-1] != '\n' {
					t.Error("a torn line is hidden")
				}
				return
			default:
				t.Fatal(err)
			}
		}
	})
}

func TestReaderKeepsNoMoreThanALine(t *testing.T) {
	r := NewReader(strings.NewReader(strings.Repeat("x", 5*maxLine)))
	if _, err := r.Next(); !errors.Is(err, ErrTorn) || len(r.torn) > maxLine+64<<10 {
		t.Errorf("%d bytes, %v", len(r.torn), err)
	}
}

// BenchmarkRecord is one call's Stop record through the writer to the disk, many at once.
func BenchmarkRecord(b *testing.B) {
	cfg := testConfig(b, b.TempDir(), "--queue=1000000")
	w := mustOpen(b, cfg, nil)
	var kept sync.WaitGroup
	kept.Add(b.N)
	for n := range b.N {
		r := rec(fmt.Sprint(n), 1, Stop)
		r.Streams = []Stream{{Side: "access", Number: 1}, {Side: "core", Number: 1}}
		if err := w.Put(r, func(error) { kept.Done() }); err != nil {
			b.Fatal(err)
		}
	}
	kept.Wait()
	if err := w.Close(b.Context()); err != nil {
		b.Error(err)
	}
}
