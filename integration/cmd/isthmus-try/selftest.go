package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isthmus-gateway/isthmus/integration/internal/democore"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

const (
	sipAddr    = "127.0.0.1:5060"
	statusAddr = "127.0.0.1:5080"
	ourHz      = 620.0 // what the caller sends; the far end answers with democore.ToneHz
)

// report is the outcome of the self-test; the last line printed is its JSON.
type report struct {
	OK           bool         `json:"ok"`
	RegisterMS   float64      `json:"register_ms"`
	MedianMS     float64      `json:"invite_to_audio_median_ms"` // INVITE on the wire to first audio heard
	Calls        []callReport `json:"calls"`
	CleanedUp    bool         `json:"cleaned_up"`
	Contexts     uint32       `json:"contexts_left"`
	PortPairs    uint32       `json:"port_pairs_left"`
	GoroutinesUp int          `json:"goroutines_grown"`
	Error        string       `json:"error,omitempty"`
}

type callReport struct {
	Name        string  `json:"name"`
	OK          bool    `json:"ok"`
	AnswerMS    float64 `json:"invite_to_answer_ms"`
	AudioMS     float64 `json:"invite_to_audio_ms"`
	Codec       string  `json:"browser_codec"`
	CoreCodec   string  `json:"core_codec"`
	HeardHz     float64 `json:"heard_hz"`     // by the caller
	FarHeardHz  float64 `json:"far_heard_hz"` // by the SIP user
	Disruptions uint64  `json:"disruptions"`  // SSRC, sequence, timestamp jumps seen by the SIP user
	Error       string  `json:"error,omitempty"`
}

func ms(d time.Duration) float64 { return math.Round(float64(d.Microseconds())/100) / 10 }

// selfTest registers and calls with each codec, three times, then looks for what was left behind.
func selfTest(ctx context.Context) report {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	r := report{Calls: []callReport{}}
	var audio []float64
	var base uint32
	for round, codec := range []string{"opus", "opus", "opus", "PCMA", "PCMA"} {
		name := map[string]string{"opus": "Opus <-> G.711, transcoded", "PCMA": "G.711, relayed"}[codec]
		c := callReport{Name: name}
		reg, err := oneCall(ctx, codec, &c)
		if err != nil {
			c.Error = err.Error()
		} else {
			c.OK = true
			audio = append(audio, c.AudioMS)
		}
		r.Calls = append(r.Calls, c)
		if round == 0 {
			r.RegisterMS = reg
			if res, err := idle(ctx, 0); err == nil {
				base = res.Goroutines
			}
		}
	}
	slices.Sort(audio)
	if len(audio) > 0 {
		r.MedianMS = audio[len(audio)/2]
	}
	res, err := idle(ctx, base)
	if err != nil {
		r.Error = err.Error()
	} else {
		r.Contexts, r.PortPairs, r.GoroutinesUp = res.Contexts, res.PortPairs, int(res.Goroutines)-int(base)
		r.CleanedUp = res.Contexts == 0 && res.PortPairs == 0 && r.GoroutinesUp <= 0
	}
	r.OK = r.CleanedUp && !slices.ContainsFunc(r.Calls, func(c callReport) bool { return !c.OK })
	return r
}

// oneCall registers a caller, calls the tone user, compares what both ends heard by frequency, and hangs up.
func oneCall(ctx context.Context, codec string, c *callReport) (registerMS float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	ua, err := webua.Dial(ctx, webua.Config{
		URL: "ws://127.0.0.1:8080/sip", Domain: "isthmus.example", User: "alice", Password: "wonderland", Codecs: []string{codec},
	})
	if err != nil {
		return 0, err
	}
	defer ua.Close()
	start := time.Now()
	if err := ua.Register(ctx, 10*time.Minute); err != nil {
		return 0, fmt.Errorf("register: %w", err)
	}
	registerMS = ms(time.Since(start))
	call, err := ua.Call(ctx, "sip:tone@isthmus.example", tone.NewSine(ourHz, -12))
	if err != nil {
		return registerMS, fmt.Errorf("call: %w", err)
	}
	err = call.WaitAudio(ctx, democore.ToneHz)
	far, ferr := farHeard(ctx)
	res := call.Result()
	c.AnswerMS, c.Codec, c.HeardHz = ms(res.Answered.Sub(res.InviteSent)), res.Codec, math.Round(res.Tone.Freq)
	if !res.FirstAudio.IsZero() {
		c.AudioMS = ms(res.FirstAudio.Sub(res.InviteSent))
	}
	c.CoreCodec, c.FarHeardHz, c.Disruptions = far.Codec, math.Round(far.Heard.Freq), far.Discontinue
	if herr := call.Hangup(ctx); err == nil {
		err = herr
	}
	if err == nil {
		err = ferr
	}
	if uerr := ua.Register(ctx, 0); err == nil && uerr != nil {
		err = fmt.Errorf("de-register: %w", uerr)
	}
	return registerMS, err
}

// farHeard waits until the SIP user has heard the caller's tone.
func farHeard(ctx context.Context) (democore.MediaStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last democore.MediaStatus
	for {
		if s, err := status(ctx); err == nil && len(s.Media) > 0 {
			last = s.Media[len(s.Media)-1]
			if last.Heard.IsTone(ourHz, 15) {
				return last, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("the SIP user did not hear %v Hz but %.0f Hz", ourHz, last.Heard.Freq)
		}
	}
}

func status(ctx context.Context) (democore.Status, error) {
	var s democore.Status
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+statusAddr+"/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// idle waits until the MGW holds no context and no more goroutines than before (base 0: any), and returns what it holds.
func idle(ctx context.Context, base uint32) (*adminv1.ResourcesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 12*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("127.0.0.1:7421", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	admin := adminv1.NewGatewayAdminClient(conn)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last *adminv1.ResourcesResponse
	for {
		if r, err := admin.Resources(ctx, &adminv1.ResourcesRequest{}); err == nil {
			last = r
			if r.Contexts == 0 && r.PortPairs == 0 && (base == 0 || r.Goroutines <= base) {
				return r, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if last == nil {
				return nil, fmt.Errorf("the MGW's admin service does not answer: %w", ctx.Err())
			}
			return last, nil
		}
	}
}

// print writes the table.
func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "\nSelf-test: registration %.1f ms\n\n", r.RegisterMS)
	t := tabwriter.NewWriter(w, 2, 4, 2, ' ', 0)
	fmt.Fprintln(t, "call\tresult\tanswer ms\taudio ms\tbrowser\tcore\tcaller heard\tfar end heard")
	for _, c := range r.Calls {
		result := "ok"
		if !c.OK {
			result = "FAILED"
		}
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%.1f\t%s\t%s\t%.0f Hz\t%.0f Hz\n", c.Name, result, c.AnswerMS, c.AudioMS, c.Codec, c.CoreCodec, c.HeardHz, c.FarHeardHz)
	}
	_ = t.Flush() // a closed standard output shows in the exit of the shell
	for _, c := range r.Calls {
		if c.Error != "" {
			fmt.Fprintf(w, "  %s: %s\n", c.Name, c.Error)
		}
	}
	fmt.Fprintf(w, "\nINVITE to first audio, median: %.1f ms\nleft behind in the MGW: %d contexts, %d port pairs, %+d goroutines\n", r.MedianMS, r.Contexts, r.PortPairs, r.GoroutinesUp)
	if r.Error != "" {
		fmt.Fprintln(w, r.Error)
	}
}
