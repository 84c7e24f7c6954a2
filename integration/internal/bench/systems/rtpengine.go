package systems

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/bencode"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Rtpengine is sipwise's rtpengine in user space, commanded over its ng protocol.
type Rtpengine struct {
	procs *stack.Stack
	ng    ngClient
}

const rtpengineName = "rtpengine"

// ErrNotInstalled says that there is no rtpengine on this machine.
var ErrNotInstalled = errors.New("rtpengine is not installed")

// Encodes reports whether the rtpengine found on the PATH can make a codec, "AMR-WB" for one: that depends on its libavcodec.
func Encodes(ctx context.Context, name string) bool {
	path, err := findRtpengine()
	if err != nil {
		return false
	}
	out, err := exec.CommandContext(ctx, path, "--codecs").CombinedOutput()
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(out)) {
		if codec, support, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && codec == name {
			return support == "fully supported"
		}
	}
	return false
}

func findRtpengine() (string, error) {
	for _, name := range []string{rtpengineName, "/usr/sbin/" + rtpengineName} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// StartRtpengine runs the rtpengine found on the PATH with so many packet threads, and with more flags. log takes its output, may be nil.
// Errors: ErrNotInstalled.
func StartRtpengine(ctx context.Context, threads int, log io.Writer, flags ...string) (*Rtpengine, error) {
	path, err := findRtpengine()
	if err != nil {
		return nil, err
	}
	port, err := stack.FreePorts("udp", 1)
	if err != nil {
		return nil, err
	}
	s := &Rtpengine{procs: stack.New(log), ng: ngClient{fmt.Sprintf("127.0.0.1:%d", port)}}
	err = s.procs.Start(ctx, stack.Daemon{Name: rtpengineName, Path: path, Args: append([]string{
		"--config-file=none", "--foreground", "--log-stderr", "--log-level=3", "--table=-1", fmt.Sprintf("--num-threads=%d", threads),
		"--interface=127.0.0.1", "--listen-ng=" + s.ng.address, fmt.Sprintf("--port-min=%d", rtpengineMin), fmt.Sprintf("--port-max=%d", rtpengineMax),
	}, flags...)})
	if err == nil {
		_, err = s.ng.request(ctx, bencode.Dict{"command": "ping"})
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Name implements System.
func (s *Rtpengine) Name() string { return "rtpengine" }

// Pid implements System.
func (s *Rtpengine) Pid() int { return s.procs.Pid(rtpengineName) }

// Begin implements System.
func (s *Rtpengine) Begin() error { return nil }

// Close implements System.
func (s *Rtpengine) Close() error { return s.procs.Close(10 * time.Second) }

// Connect implements System: the browser's offer, then the core side's answer.
func (s *Rtpengine) Connect(ctx context.Context, o load.Offer) (load.Answer, error) {
	id := fmt.Sprintf("bench-%d", o.Call)
	offer := bencode.Dict{
		"command": "offer", "call-id": id, "from-tag": "b", "sdp": browserSDP(o), "ICE": "remove", "DTLS": "off",
		"transport-protocol": "RTP/AVP", "rtcp-mux": []string{"demux"}, "replace": []string{"origin", "session-connection"},
	}
	if o.Media.Transcoded() {
		offer["codec"] = bencode.Dict{"transcode": []string{coreSpec(o.Media)}, "mask": []string{"opus"}}
	}
	toCore, err := s.ng.describe(ctx, offer)
	if err != nil {
		return load.Answer{}, err
	}
	toBrowser, err := s.ng.describe(ctx, bencode.Dict{
		"command": "answer", "call-id": id, "from-tag": "b", "to-tag": "c", "sdp": coreSDP(o), "ICE": "force",
		"transport-protocol": "UDP/TLS/RTP/SAVPF", "rtcp-mux": []string{"require"}, "replace": []string{"origin", "session-connection"},
	})
	if err != nil {
		return load.Answer{}, err
	}
	return joined(toCore, toBrowser)
}

// Describe sends an ng command of the kind offer or answer and returns the description that rtpengine makes of cmd's.
// Errors: no reply in time, or the reason that rtpengine gives.
func (s *Rtpengine) Describe(ctx context.Context, cmd map[string]any) (string, error) {
	rep, err := s.ng.request(ctx, bencode.Dict(cmd))
	if err != nil {
		return "", err
	}
	text, _ := rep["sdp"].(string)
	return text, nil
}

// joined takes from both descriptions what the ends need.
func joined(toCore, toBrowser *sdp.Description) (a load.Answer, err error) {
	core, web := &toCore.Media[0], &toBrowser.Media[0]
	if a.Core, err = endpoint(toCore.ConnectionOf(core).Host, uint32(core.Port)); err != nil {
		return a, fmt.Errorf("towards the core: %w", err)
	}
	if a.Access, err = endpoint(toBrowser.ConnectionOf(web).Host, uint32(web.Port)); err != nil {
		return a, fmt.Errorf("towards the browser: %w", err)
	}
	a.Ufrag, a.Pwd = toBrowser.CredentialsOf(web)
	for _, f := range toBrowser.FingerprintsOf(web) {
		if f.Hash == "sha-256" {
			a.Fingerprint = f.Value
		}
	}
	setup := toBrowser.SetupOf(web)
	a.Client = setup == sdp.SetupActive
	if a.Ufrag == "" || a.Pwd == "" || a.Fingerprint == "" || setup != sdp.SetupActive && setup != sdp.SetupPassive {
		return a, fmt.Errorf("towards the browser: no ICE credentials, fingerprint or role: %s", toBrowser.Marshal())
	}
	return a, nil
}

// browserSDP is the offer of a browser with one host candidate. (A connection address of 0.0.0.0, as browsers write it, would be taken
// for hold.)
func browserSDP(o load.Offer) string {
	codec := "8\r\na=rtpmap:8 PCMA/8000"
	if o.Media.Transcoded() {
		codec = "111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1"
	}
	port, ip := o.Browser.Port(), o.Browser.Addr()
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %[2]s\r\ns=-\r\nc=IN IP4 %[2]s\r\nt=0 0\r\nm=audio %[1]d UDP/TLS/RTP/SAVPF %[3]s\r\na=sendrecv\r\na=ptime:20\r\na=rtcp-mux\r\n"+
		"a=setup:actpass\r\na=mid:0\r\na=ice-ufrag:%[4]s\r\na=ice-pwd:%[5]s\r\na=fingerprint:sha-256 %[6]s\r\n"+
		"a=candidate:1 1 udp 2130706431 %[2]s %[1]d typ host\r\na=end-of-candidates\r\n", port, ip, codec, o.Ufrag, o.Pwd, o.Fingerprint)
}

// coreFormat is the codec at the core.
func coreFormat(m load.Media) (pt int, encoding string) {
	switch m {
	case load.OpusAMRWB, load.OpusAMRWBFull:
		return 97, "AMR-WB/16000"
	case load.OpusG722:
		return 9, "G722/8000"
	}
	return 8, "PCMA/8000"
}

// coreSpec is the codec that rtpengine is to offer there. AMR-WB has the bit rate that the gateway sends at; its own choice were 14.25 kbit/s.
func coreSpec(m load.Media) string {
	switch m {
	case load.OpusAMRWB:
		return "AMR-WB/16000/1/12650"
	case load.OpusAMRWBFull:
		return "AMR-WB/16000/1/23850"
	case load.OpusG722:
		return "G722"
	}
	return "PCMA"
}

// coreSDP is the core side's answer.
func coreSDP(o load.Offer) string {
	pt, encoding := coreFormat(o.Media)
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %[2]s\r\ns=-\r\nc=IN IP4 %[2]s\r\nt=0 0\r\nm=audio %[1]d RTP/AVP %[3]d\r\na=rtpmap:%[3]d %[4]s\r\na=sendrecv\r\na=ptime:20\r\n",
		o.Core.Port(), o.Core.Addr(), pt, encoding)
}
