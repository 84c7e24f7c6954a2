package democore

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
)

// Status is what GET /status answers, in JSON.
type Status struct {
	Domain        string               `json:"domain"`
	SIP           string               `json:"sip"`
	Registrations []RegistrationStatus `json:"registrations"`
	Calls         []CallStatus         `json:"calls"`      // every call through the proxy, newest last
	Media         []MediaStatus        `json:"media"`      // calls with built-in users, newest last
	Violations    []string             `json:"violations"` // WebRTC-only SDP lines and the like; must be empty
}

// RegistrationStatus is one binding.
type RegistrationStatus struct {
	User     string   `json:"user"`
	Contact  string   `json:"contact"`
	Path     []string `json:"path"`
	Expires  float64  `json:"expires_in_s"`
	Received string   `json:"received_from"`
}

// CallStatus is one call as the proxy saw it.
type CallStatus struct {
	ID      string    `json:"call_id"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	State   string    `json:"state"` // ringing, answered, ended
	Code    int       `json:"code"`  // final response of the INVITE, 0 while there is none
	Started time.Time `json:"started"`
	Seconds float64   `json:"answered_s"` // how long it has been or was answered
}

// MediaStatus is one call with a built-in user, as its telephone hears it.
type MediaStatus struct {
	Number       int            `json:"number"` // of GET /recording/NUMBER.wav
	ID           string         `json:"call_id"`
	User         string         `json:"user"` // the built-in user
	Peer         string         `json:"peer"`
	Outgoing     bool           `json:"outgoing"` // the built-in user placed it
	State        string         `json:"state"`    // ringing, answered, ended
	End          string         `json:"end"`      // why it ended
	Codec        string         `json:"codec"`    // PCMA or PCMU, "" before there is one
	LocalDir     string         `json:"local_direction"`
	RemoteDir    string         `json:"remote_direction"`
	Heard        tone.Detection `json:"heard"` // the tone that sounded longest
	HeardSeconds float64        `json:"heard_s"`
	Last         tone.Detection `json:"last"` // the newest 200 ms
	Samples      uint64         `json:"samples"`
	Digits       string         `json:"digits"`      // DTMF received as telephone events
	Infos        []string       `json:"infos"`       // bodies of INFO requests
	Discontinue  uint64         `json:"disruptions"` // see rtpua.Receive.Discontinuities
	RTP          rtpua.Stats    `json:"rtp"`
}

func callState(answered, ended bool) string {
	switch {
	case ended:
		return "ended"
	case answered:
		return "answered"
	}
	return "ringing"
}

// Snapshot gives the status as of now.
func (c *Core) Snapshot() Status {
	now := time.Now()
	s := Status{
		Domain: c.cfg.Domain, SIP: c.node.Addr().String(),
		Registrations: []RegistrationStatus{}, Calls: []CallStatus{}, Media: c.apps.snapshot(),
		Violations: append([]string{}, c.apps.agent.Violations()...),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.cfg.Users {
		for _, b := range c.bindingsLocked(u.Name, now) {
			r := RegistrationStatus{
				User: u.Name, Contact: b.contact.String(), Path: []string{},
				Expires: b.expires.Sub(now).Seconds(), Received: b.source.String(),
			}
			for i := range b.path {
				r.Path = append(r.Path, b.path[i].String())
			}
			s.Registrations = append(s.Registrations, r)
		}
	}
	for _, id := range c.order {
		r := c.calls[id]
		cs := CallStatus{
			ID: r.id, From: r.from, To: r.to, Code: r.code, Started: r.started,
			State: callState(!r.answered.IsZero(), !r.ended.IsZero()),
		}
		if !r.answered.IsZero() {
			end := r.ended
			if end.IsZero() {
				end = now
			}
			cs.Seconds = end.Sub(r.answered).Seconds()
		}
		s.Calls = append(s.Calls, cs)
	}
	return s
}

func (a *apps) snapshot() []MediaStatus {
	a.mu.Lock()
	list := slices.Concat(a.finished, a.running)
	a.mu.Unlock()
	out := []MediaStatus{}
	for _, c := range list {
		out = append(out, c.snapshot())
	}
	slices.SortFunc(out, func(x, y MediaStatus) int { return x.Number - y.Number })
	return out
}

func (c *appCall) snapshot() MediaStatus {
	rtp := c.call.Media().Stats()
	state := c.call.State()
	local, remote := c.call.Directions()
	m := MediaStatus{
		Number: c.number, ID: c.call.ID(), User: c.app, Peer: c.call.Peer(), Outgoing: c.call.Outgoing(),
		State:    callState(state == ua.Established, state == ua.Ended),
		LocalDir: string(local), RemoteDir: string(remote),
		Samples: c.rec.Total(), Digits: rtp.Recv.Digits, Infos: []string{}, Discontinue: rtp.Recv.Discontinuities(), RTP: rtp,
	}
	if state == ua.Ended {
		m.End = c.call.Reason().String()
	}
	if p := c.call.Media().Params(); p.Remote.IsValid() {
		m.Codec = map[tone.Law]string{tone.ALaw: "PCMA", tone.MuLaw: "PCMU"}[p.Law]
	}
	m.Heard, m.HeardSeconds, m.Last = c.rec.Heard()
	for _, i := range c.call.Infos() {
		m.Infos = append(m.Infos, i.Body)
	}
	return m
}

func (c *Core) statusMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.Encode(c.Snapshot()) // a write error means that the reader has gone
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /recording/{file}", c.serveRecording)
	return mux
}

// serveRecording gives the newest audio that a built-in user received, as WAV.
func (c *Core) serveRecording(w http.ResponseWriter, r *http.Request) {
	file := r.PathValue("file")
	number, err := strconv.Atoi(file[:max(0, len(file)-len(".wav"))])
	if err != nil || file != strconv.Itoa(number)+".wav" {
		http.NotFound(w, r)
		return
	}
	c.apps.mu.Lock()
	var rec *rtpua.Recorder
	for _, call := range slices.Concat(c.apps.finished, c.apps.running) {
		if call.number == number {
			rec = call.rec
		}
	}
	c.apps.mu.Unlock()
	if rec == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "audio/wav")
	if err := tone.WriteWAV(w, rec.Samples(0)); err != nil {
		c.logf("WARNING   recording %d: %v", number, err)
	}
}
