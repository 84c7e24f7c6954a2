package webphone

import (
	"context"
	"encoding/json"
	"math"
)

// Page is a tab with the phone.
type Page struct {
	browser *Browser
	name    string
}

// Call is a call as the phone shows it (CallView in hook.ts).
type Call struct {
	ID         string   `json:"id"`
	CallID     string   `json:"callId"`
	Direction  string   `json:"direction"` // in, out
	State      string   `json:"state"`
	Peer       string   `json:"peer"`
	LocalHold  bool     `json:"localHold"`
	RemoteHold bool     `json:"remoteHold"`
	Transfer   string   `json:"transfer"`   // that we asked for: none, asked, trying, done, failed
	ReferredTo string   `json:"referredTo"` // SIP URI of whom the far end wants us to call; "" for nobody
	Failure    *Failure `json:"failure"`
	EndTitle   string   `json:"endTitle"`
	EndText    string   `json:"endText"`
	ICEState   string   `json:"iceState"`
	Restarts   int      `json:"restarts"` // ICE restarts that the phone has offered
}

// Failure is a problem as the phone explains it.
type Failure struct {
	Code   string `json:"code"`
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

// State is the phone's registration.
type State struct {
	Registration string   `json:"registration"`
	Failure      *Failure `json:"failure"`
}

// Tone is the strongest frequency of the last 170 ms; levels in dBFS, -infinity when silent.
type Tone struct {
	Hz  float64 `json:"hz"`
	RMS float64 `json:"rmsDb"`
}

// UnmarshalJSON reads null, which is what JSON makes of -infinity.
func (t *Tone) UnmarshalJSON(data []byte) error {
	var v struct {
		Hz  float64  `json:"hz"`
		RMS *float64 `json:"rmsDb"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*t = Tone{Hz: v.Hz, RMS: math.Inf(-1)}
	if v.RMS != nil {
		t.RMS = *v.RMS
	}
	return nil
}

// Stats is what the browser measured last.
type Stats struct {
	CodecIn  string `json:"codecIn"` // "opus 48 kHz"
	CodecOut string `json:"codecOut"`
	SRTP     string `json:"srtp"` // protection profile of DTLS-SRTP, as the browser calls it
	Totals   struct {
		Concealed int `json:"concealedSamples"` // at 48 kHz
	} `json:"totals"`
	Relay string `json:"relay"` // how the TURN server is reached that relays the call: udp, tcp, tls; "" when it goes directly
	All   string `json:"-"`     // everything, as JSON
}

// Text is an instant message.
type Text struct {
	Peer      string `json:"peer"`
	Direction string `json:"direction"` // in, out
	Text      string `json:"text"`
	Status    string `json:"status"`
}

// Open loads the phone into a new tab; mic is the sine, in Hz, that stands for its microphone, or 0 for the browser's own.
func (b *Browser) Open(ctx context.Context, name, url string, mic float64) (*Page, error) {
	return b.open(ctx, name, url, mic, false)
}

// OpenCalm is the like for one of many tabs: it is small and seldom drawn, which is what costs a browser without a graphics card most.
func (b *Browser) OpenCalm(ctx context.Context, name, url string, mic float64) (*Page, error) {
	return b.open(ctx, name, url, mic, true)
}

func (b *Browser) open(ctx context.Context, name, url string, mic float64, calm bool) (*Page, error) {
	p := &Page{browser: b, name: name}
	if err := b.do(ctx, "open", name, "", nil, url, calm); err != nil {
		return nil, err
	}
	if mic == 0 {
		return p, nil
	}
	return p, p.invoke(ctx, "setMicTone", nil, mic)
}

// Reload loads the page again, as a user's F5 does; mic as for Open.
func (p *Page) Reload(ctx context.Context, mic float64) error {
	if err := p.browser.do(ctx, "reload", p.name, "", nil); err != nil || mic == 0 {
		return err
	}
	return p.invoke(ctx, "setMicTone", nil, mic)
}

// Close closes the tab.
func (p *Page) Close(ctx context.Context) error {
	return p.browser.do(ctx, "close", p.name, "", nil)
}

// Shot saves a picture of the page.
func (p *Page) Shot(ctx context.Context, path string) error {
	return p.browser.do(ctx, "shot", p.name, "", nil, path)
}

// Run evaluates a script in the page; result may be nil, else its value, or that of its promise, goes there.
func (p *Page) Run(ctx context.Context, script string, result any) error {
	return p.browser.do(ctx, "run", p.name, "", result, script)
}

func (p *Page) invoke(ctx context.Context, fn string, result any, args ...any) error {
	return p.browser.do(ctx, "call", p.name, fn, result, args...)
}

// Register signs in; it returns when registered, with an error when refused.
func (p *Page) Register(ctx context.Context, user, password string) error {
	return p.invoke(ctx, "register", nil, map[string]string{"identity": user, "password": password})
}

// RegisterRaw is the like with a microphone whose sound is not processed: a noise suppressor takes a tone for noise.
func (p *Page) RegisterRaw(ctx context.Context, user, password string) error {
	return p.invoke(ctx, "register", nil, map[string]any{"identity": user, "password": password, "processing": false})
}

// RegisterWithToken is the like with a web-identity token in the place of the password.
func (p *Page) RegisterWithToken(ctx context.Context, user, token string) error {
	return p.invoke(ctx, "register", nil, map[string]string{"identity": user, "password": "", "token": token})
}

// RegisterAt is the like over another WebSocket URL and without a password: its query may hold a token.
func (p *Page) RegisterAt(ctx context.Context, user, wsURL string) error {
	return p.invoke(ctx, "register", nil, map[string]string{"identity": user, "password": "", "wsUrl": wsURL})
}

// Unregister signs out.
func (p *Page) Unregister(ctx context.Context) error { return p.invoke(ctx, "unregister", nil) }

// Dial starts a call and returns its id.
func (p *Page) Dial(ctx context.Context, target string) (id string, err error) {
	err = p.invoke(ctx, "dial", &id, target)
	return id, err
}

// Answer takes an incoming call.
func (p *Page) Answer(ctx context.Context, id string) error { return p.invoke(ctx, "answer", nil, id) }

// Reject refuses an incoming call.
func (p *Page) Reject(ctx context.Context, id string, status int) error {
	return p.invoke(ctx, "reject", nil, id, status)
}

// Hangup ends a call, or gives it up.
func (p *Page) Hangup(ctx context.Context, id string) error { return p.invoke(ctx, "hangup", nil, id) }

// Hold puts a call on hold.
func (p *Page) Hold(ctx context.Context, id string) error { return p.invoke(ctx, "hold", nil, id) }

// Resume makes a call the one that is talked on; others go on hold.
func (p *Page) Resume(ctx context.Context, id string) error { return p.invoke(ctx, "resume", nil, id) }

// RestartICE makes the phone act as when the network has changed.
func (p *Page) RestartICE(ctx context.Context, id string) error {
	return p.invoke(ctx, "restartIce", nil, id)
}

// Transfer hands the far end of a call on to somebody else.
func (p *Page) Transfer(ctx context.Context, id, target string) error {
	return p.invoke(ctx, "transfer", nil, id, target)
}

// Connect connects the far ends of two calls with each other.
func (p *Page) Connect(ctx context.Context, id, other string) error {
	return p.invoke(ctx, "connect", nil, id, other)
}

// Follow does what the far end of a call asks for: the page calls whom it is referred to.
func (p *Page) Follow(ctx context.Context, id string) error { return p.invoke(ctx, "follow", nil, id) }

// Mute has the microphone send silence, or no longer.
func (p *Page) Mute(ctx context.Context, id string, on bool) error {
	return p.invoke(ctx, "mute", nil, id, on)
}

// DTMF sends digits.
func (p *Page) DTMF(ctx context.Context, id, digits string) error {
	return p.invoke(ctx, "dtmf", nil, id, digits)
}

// Message sends a text.
func (p *Page) Message(ctx context.Context, target, text string) error {
	return p.invoke(ctx, "message", nil, target, text)
}

// Messages lists all texts.
func (p *Page) Messages(ctx context.Context) (texts []Text, err error) {
	err = p.invoke(ctx, "messages", &texts)
	return texts, err
}

// Calls lists live calls and the last ended ones.
func (p *Page) Calls(ctx context.Context) (calls []Call, err error) {
	err = p.invoke(ctx, "calls", &calls)
	return calls, err
}

// State is the registration.
func (p *Page) State(ctx context.Context) (s State, err error) {
	err = p.invoke(ctx, "state", &s)
	return s, err
}

// Hears is what the far end's audio contains.
func (p *Page) Hears(ctx context.Context, id string) (t Tone, err error) {
	err = p.invoke(ctx, "remoteTone", &t, id)
	return t, err
}

// Stats is the newest sample of a call; the zero Stats before the first.
func (p *Page) Stats(ctx context.Context, id string) (s Stats, err error) {
	var all json.RawMessage
	if err := p.invoke(ctx, "lastStats", &all, id); err != nil {
		return Stats{}, err
	}
	if err := json.Unmarshal(all, &s); err != nil {
		return Stats{}, err
	}
	s.All = string(all)
	return s, nil
}

// DTMFSent lists the digits that the browser began to send in any call since the page was loaded, in order.
func (p *Page) DTMFSent(ctx context.Context) (string, error) {
	var events []struct {
		Kind   string `json:"kind"`
		Detail struct {
			Tone string `json:"tone"`
		} `json:"detail"`
	}
	err := p.invoke(ctx, "events", &events)
	digits := ""
	for _, e := range events {
		if e.Kind == "tone" {
			digits += e.Detail.Tone
		}
	}
	return digits, err
}

// Metrics are moments of an outgoing call; ms, 0 while unknown.
type Metrics struct {
	InviteSentAt    float64 `json:"inviteSentAt"`
	AnsweredAt      float64 `json:"answeredAt"`
	ICEConnectedAt  float64 `json:"iceConnectedAt"`
	DTLSConnectedAt float64 `json:"dtlsConnectedAt"`
	InviteToAudioMs float64 `json:"inviteToAudioMs"` // from InviteSentAt to the first audio heard
}

// Metrics are the moments of a call so far.
func (p *Page) Metrics(ctx context.Context, id string) (m Metrics, err error) {
	err = p.invoke(ctx, "metrics", &m, id)
	return m, err
}

// Rung is one SIP message that the page sent or received.
type Rung struct {
	Direction string `json:"direction"` // in, out
	Method    string `json:"method"`    // of the request, or of the CSeq of the response
	Status    int    `json:"status"`    // 0 for a request
	CallID    string `json:"callId"`
	Text      string `json:"text"` // whole, credentials blanked
}

// Ladder lists the SIP messages of the page, oldest first, the last 400 of them.
func (p *Page) Ladder(ctx context.Context) (rungs []Rung, err error) {
	err = p.invoke(ctx, "ladder", &rungs)
	return rungs, err
}

// Lost counts how often the phone's connection broke since the page was loaded.
func (p *Page) Lost(ctx context.Context) (n int, err error) {
	var events []struct {
		Kind   string `json:"kind"`
		Detail struct {
			State string `json:"state"`
		} `json:"detail"`
	}
	err = p.invoke(ctx, "events", &events)
	for _, e := range events {
		if e.Kind == "registration" && e.Detail.State == "reconnecting" {
			n++
		}
	}
	return n, err
}
