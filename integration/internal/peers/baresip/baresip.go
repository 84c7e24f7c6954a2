// Package baresip runs baresip as a SIP user for tests: it is driven over its control socket, sends a tone, and
// records what it plays. Floor 1 of the integration module. Owner: Agent owns the process and the control connection; Close ends both.
package baresip

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

//go:embed config.tmpl
var config string

//go:embed asound.conf.tmpl
var soundCard string

// Wrapper changes a command so that it runs elsewhere, as netns.Space.Wrap does.
type Wrapper func(name string, args ...string) (string, []string)

// Config says what to run. All fields are needed but Log and MediaEnc.
type Config struct {
	Wrap     Wrapper
	Dir      string  // private, existing: configuration, tone and recordings go here
	Addr     string  // host:port of SIP over UDP; not on loopback, which baresip refuses
	Control  string  // host:port of the control socket
	User     string  // user part
	Password string  // digest
	Domain   string  // home domain
	Proxy    string  // host:port of registrar and outbound proxy
	Tone     float64 // Hz of the sine it sends
	Codecs   string  // audio codecs in order of preference, comma-separated: PCMA, PCMU, AMR-WB, AMR (octet-aligned only), G722
	Friend   string  // SIP URI that Message writes to
	RTPPorts string  // "first-last"
	MediaEnc string  // srtp: RTP/AVP with keys in SDP; srtp-mand: RTP/SAVP; empty: plain RTP
	Log      io.Writer
}

// toneLength bounds how long a call can be heard, in seconds; baresip does not repeat the file.
const toneLength = 120

// Agent is a running baresip.
type Agent struct {
	cfg   Config
	procs *stack.Stack
	out   *transcript
	*control
	*loudspeaker

	once  sync.Once // of Close
	ended error     // what it gave
}

// Start writes the configuration, runs baresip and waits until it is registered.
func Start(ctx context.Context, cfg Config) (*Agent, error) {
	a := &Agent{cfg: cfg, out: &transcript{next: cfg.Log}}
	a.procs = stack.New(a.out)
	var err error
	if a.loudspeaker, err = newLoudspeaker(filepath.Join(cfg.Dir, "loudspeaker")); err != nil {
		return nil, err
	}
	if err := a.start(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Agent) start(ctx context.Context) error {
	if err := a.configure(); err != nil {
		return fmt.Errorf("baresip: %w", err)
	}
	name, args := a.cfg.Wrap("env", "ALSA_CONFIG_PATH="+filepath.Join(a.cfg.Dir, "asound.conf"), "baresip", "-4", "-s", "-f", a.cfg.Dir)
	if err := a.procs.Start(ctx, stack.Daemon{Name: "baresip", Path: name, Args: args}); err != nil {
		return err
	}
	c, err := connect(ctx, a.cfg.Control, a.procs.Done("baresip"))
	if err != nil {
		return fmt.Errorf("baresip: %w; its last lines: %s", err, a.out.tail(2000))
	}
	a.control = c
	return a.awaitRegistered(ctx)
}

// awaitRegistered asks, since the event may have come before we were there to hear it.
func (a *Agent) awaitRegistered(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := a.Command(ctx, "reginfo", "")
		if err != nil {
			return err
		}
		if strings.Contains(info, "OK") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("baresip: %s is not registered: %w: %q; its last lines: %s", a.cfg.User, ctx.Err(), info, a.out.tail(2000))
		case <-tick.C:
		}
	}
}

// configure writes what baresip reads at its start.
func (a *Agent) configure() error {
	var tones, conf, card bytes.Buffer
	pcm := make([]int16, toneLength*tone.Rate)
	tone.NewSine(a.cfg.Tone, -12).Fill(pcm)
	if err := tone.WriteWAV(&tones, pcm); err != nil {
		return err
	}
	if err := template.Must(template.New("config").Parse(config)).Execute(&conf, a.cfg); err != nil {
		return err
	}
	if err := template.Must(template.New("card").Parse(soundCard)).Execute(&card, a.cfg); err != nil {
		return err
	}
	account := fmt.Sprintf("<sip:%s@%s>;auth_user=%s;auth_pass=%s;outbound=\"sip:%s;transport=udp\";regint=3600;audio_codecs=%s;answermode=manual\n",
		a.cfg.User, a.cfg.Domain, a.cfg.User, a.cfg.Password, a.cfg.Proxy, a.cfg.Codecs)
	if a.cfg.MediaEnc != "" {
		account = strings.TrimSuffix(account, "\n") + ";mediaenc=" + a.cfg.MediaEnc + "\n"
	}
	for name, data := range map[string][]byte{
		"config":          conf.Bytes(),
		"asound.conf":     card.Bytes(),
		"accounts":        []byte(account),
		"contacts":        []byte(fmt.Sprintf("\"friend\" <%s>\n", a.cfg.Friend)),
		"current_contact": []byte(a.cfg.Friend),
		"uuid":            nil,
		"tone.wav":        tones.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(a.cfg.Dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the process; once.
func (a *Agent) Close() error {
	a.once.Do(func() { a.ended = a.close() })
	return a.ended
}

func (a *Agent) close() error {
	var err error
	if a.control != nil {
		err = a.control.close()
	}
	return errors.Join(err, a.procs.Close(10*time.Second), a.loudspeaker.close())
}
