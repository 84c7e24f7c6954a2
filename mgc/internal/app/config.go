// Package app wires the controller by hand. Floor 5 of mgc: the one place that knows all parts. Owner of every part; Run
// starts them from the bottom up and stops them in reverse.
package app

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/cdr"
	"github.com/isthmus-gateway/isthmus/mgc/internal/emergency"
	"github.com/isthmus-gateway/isthmus/mgc/internal/policy"
	"github.com/isthmus-gateway/isthmus/mgc/internal/turncred"
	"github.com/isthmus-gateway/isthmus/pkg/obs"
)

// Config is the controller's configuration.
type Config struct {
	Instance  string           `conf:"instance" default:"mgc-1" doc:"Name of this instance, unique in the pool."`
	Domain    string           `conf:"domain" default:"isthmus.example" doc:"Home domain: told to the web phone, and that of identities made from tokens."`
	Access    AccessConfig     `conf:"access" doc:"Browsers."`
	Core      CoreConfig       `conf:"core" doc:"SIP core or PBX."`
	Auth      auth.Config      `conf:"auth" doc:"Web-identity tokens of browsers."`
	Media     MediaConfig      `conf:"media" doc:"Media policy."`
	Call      CallConfig       `conf:"call" doc:"Calls."`
	Emergency emergency.Policy `conf:"emergency" doc:"Emergency calls."`
	Policy    policy.Config    `conf:"policy" doc:"Policy function of the network (PCF)."`
	TURN      turncred.Config  `conf:"turn" doc:"TURN servers for browsers whose network lets no UDP through."`
	CDR       cdr.Config       `conf:"cdr" doc:"Call data records."`
	Iq        IqConfig         `conf:"iq" doc:"Control link to the media gateways."`
	Store     StoreConfig      `conf:"store" doc:"Shared state."`
	Admin     AdminConfig      `conf:"admin" doc:"Operators."`
	Phone     PhoneConfig      `conf:"phone" doc:"Built-in web phone."`
	Log       obs.LogConfig    `conf:"log" doc:"Logging."`
}

// AccessConfig is the browsers' side.
type AccessConfig struct {
	Listen        netip.AddrPort `conf:"listen" default:"127.0.0.1:8080" doc:"Address and port of HTTP and SIP over WebSocket."`
	Path          string         `conf:"path" default:"/sip" doc:"Path of SIP over WebSocket."`
	Advertise     string         `conf:"advertise" doc:"host:port in Via and Contact towards browsers; empty: listen."`
	Origins       []string       `conf:"origins" doc:"Web origins that may connect besides the own one, like https://phone.example.com or *."`
	RequireOrigin bool           `conf:"require_origin" default:"false" doc:"Refuse clients that send no Origin."`
	MaxPerIP      int            `conf:"max_per_ip" default:"200" range:"1..100000" doc:"Connections from one address."`
	TLS           TLSConfig      `conf:"tls" doc:"HTTPS and secure WebSocket."`
}

// TLSConfig is a TLS listener whose files are read again when they change.
type TLSConfig struct {
	Listen string `conf:"listen" doc:"Address and port; empty: no TLS."`
	Cert   string `conf:"cert" doc:"PEM file with the certificate chain."`
	Key    string `conf:"key" doc:"PEM file with the private key."`
}

// CoreConfig is the SIP core's side.
type CoreConfig struct {
	Listen    netip.AddrPort `conf:"listen" default:"127.0.0.1:5070" doc:"Address and port of SIP over UDP and TCP."`
	Advertise string         `conf:"advertise" doc:"host:port in Via, Path and Contact towards the core; empty: listen."`
	NextHop   string         `conf:"next_hop" default:"sip:127.0.0.1:5060" doc:"SIP URI of the core's entry point; empty: by the request's domain (RFC 3263)."`
	Trusted   []netip.Prefix `conf:"trusted" doc:"Prefixes that requests from the core may come from, besides the next hop."`
	Reach     []netip.Prefix `conf:"reach" doc:"Prefixes that requests may be sent to; empty: anywhere."`
	DNS       []string       `conf:"dns" doc:"DNS servers, host:port; empty: those of the system."`
	Listeners []CoreListener `conf:"listeners" doc:"More listeners, e.g. of IPv6 beside IPv4."`

	TLS       CoreTLSConfig   `conf:"tls" doc:"SIP over TLS."`
	Blacklist BlacklistConfig `conf:"blacklist" doc:"Targets of the core that fail."`
	KeepAlive KeepAliveConfig `conf:"keepalive" doc:"Keep-alives."`

	T1 time.Duration `conf:"t1" default:"500ms" range:"50ms..4s" doc:"Round-trip estimate (RFC 3261 T1): the first retransmission over UDP; a request without an answer ends after 64 of it."`

	Profile        string        `conf:"profile" default:"sip" range:"sip|ims" doc:"What the core is: sip for a PBX or provider, ims for an IMS core. Sets what the fields below mean by auto."`
	Identity       string        `conf:"identity" default:"auto" range:"auto|assert|none" doc:"assert: P-Asserted-Identity, P-Charging-Vector and access network towards the core (RFC 3325, RFC 7315), and the core's Resource-Priority counts (RFC 4412). auto: sip none, ims assert."`
	Reliable       string        `conf:"reliable" default:"auto" range:"auto|on|off" doc:"Reliable provisional responses, 100rel (RFC 3262). auto: on."`
	Preconditions  string        `conf:"preconditions" default:"auto" range:"auto|off|answer-only|full" doc:"QoS preconditions (RFC 3312): answer-only takes those of callers, full offers them too. auto: sip off, ims answer-only."`
	EarlyMedia     string        `conf:"early_media" default:"auto" range:"auto|always|authorised|never" doc:"Media before the answer: authorised follows P-Early-Media (RFC 5009). auto: sip always, ims authorised."`
	SessionExpires time.Duration `conf:"session_expires" default:"30m" range:"0s..24h" doc:"Session timer asked for (RFC 4028); 0: none, those of the peer are kept all the same."`
	MinSE          time.Duration `conf:"min_se" default:"90s" range:"90s..1h" doc:"Shortest session timer taken; less is answered 422."`
	AccessInfo     string        `conf:"access_info" doc:"P-Access-Network-Info asserted, e.g. IEEE-802.11;network-provided; empty: none."`
	IOI            string        `conf:"ioi" doc:"Our operator's name in P-Charging-Vector (orig-ioi); empty: none."`
	VisitedNetwork string        `conf:"visited_network" doc:"P-Visited-Network-ID of REGISTER requests; empty: none."`
	RegEvent       string        `conf:"reg_event" default:"auto" range:"auto|on|off" doc:"Subscribe to the registration state of each user (RFC 3680), so that the network can end a registration. auto: sip off, ims on."`
	History        bool          `conf:"history" default:"false" doc:"Let browsers say History-Info and Diversion."`

	Latch         string   `conf:"latch" default:"off" range:"off|on" doc:"on: media goes to where the core's peer sends from, once it has sent, instead of where its SDP says (H.248.37); for peers behind NAT. Without SRTP whoever sends first is taken for the peer."`
	SRTP          string   `conf:"srtp" default:"off" range:"off|osrtp|required" doc:"SRTP towards the core with keys from SDP (RFC 4568). off: RTP only; osrtp: keys are offered in RTP/AVP, peers without them get RTP (RFC 8643); required: RTP/SAVP, others are refused."`
	SRTPSuites    []string `conf:"srtp_suites" default:"AEAD_AES_256_GCM,AEAD_AES_128_GCM,AES_CM_128_HMAC_SHA1_80,AES_CM_128_HMAC_SHA1_32" doc:"Crypto-suites in order of preference."`
	SRTPCleartext string   `conf:"srtp_cleartext" default:"refuse" range:"refuse|warn" doc:"srtp=required with a next hop that is not reached over TLS, so that the keys can be read on the way (RFC 4568 §7.1): refuse to start, or warn only."`
}

// MediaConfig is the media policy.
type MediaConfig struct {
	Prefer       string   `conf:"prefer" default:"auto" range:"auto|relay|core|opus" doc:"relay: a codec that both sides share; core: the core's best, transcoded when the browser lacks it; opus: Opus for browsers, transcoded. auto: sip relay, ims core."`
	CoreCodecs   []string `conf:"core_codecs" doc:"Audio codecs for the core in order of preference. Empty: sip PCMA,PCMU,G722; ims AMR-WB,AMR,PCMA,PCMU. EVS, G729, iLBC, G726-32, GSM and speex are only relayed: list them for both sides."`
	AccessCodecs []string `conf:"access_codecs" default:"opus,PCMA,PCMU,G722" doc:"Audio codecs for browsers in order of preference. EVS and the like are only relayed, see core_codecs."`
	DTX          string   `conf:"dtx" default:"off" range:"off|core|both" doc:"Towards whom transcoded audio pauses in silence (AMR, AMR-WB, Opus): it saves half of the packets, and the far end makes the noise."`
	ComfortNoise string   `conf:"comfort_noise" default:"auto" range:"auto|off|answer|offer" doc:"Comfort noise (RFC 3389) beside G.711 and G.722. answer: agreed with a core that offers it, where dtx has what is transcoded pause, or the browser has agreed to it too; offer: offered to the core, where the browser has offered it, or dtx has all that could be agreed pause. Browsers are offered none. auto: sip offer, ims answer."`
	RTCPMux      string   `conf:"rtcp_mux" default:"required" range:"required|only|negotiate" doc:"RTP and RTCP of browsers on one port (RFC 5761). required: others are refused; only: our offers say so (RFC 8858); negotiate: others get ports of their own, from media gateways with realms.access.N.rtcp_port."`
	RTCPXR       string   `conf:"rtcp_xr" default:"answer" range:"off|answer|offer" doc:"VoIP metrics and round trip of receivers in RTCP (RFC 3611). answer: for peers that ask for them; offer: offered to the core too."`
	QualityLimit float64  `conf:"quality_limit" default:"0" range:"0..4.5" doc:"Estimated MOS (ITU-T G.107) of 10 s below which the media gateway tells; counted in call data records. Calls then go over media gateways with the capability quality only. 0: never."`
	DSCP         int      `conf:"dscp" default:"46" range:"0..63" doc:"DSCP of audio and its RTCP, on both sides (RFC 4594: 46 is EF)."`
	AccessRealm  string   `conf:"access_realm" default:"access" doc:"IP realm of the browsers' terminations."`
	CoreRealm    string   `conf:"core_realm" default:"core" doc:"IP realm of the core's terminations."`

	Policing PolicingConfig `conf:"policing" doc:"Limit on what a peer may send (H.248.53); the media gateway drops and counts what is beyond."`
	DTMF     DTMFConfig     `conf:"dtmf" doc:"Digits: how they go to each side. What comes is always taken as telephone-events and by INFO."`
}

// PolicingConfig is how closely peers are held to the rate of their codecs.
type PolicingConfig struct {
	Percent int           `conf:"percent" default:"200" range:"0..1000" doc:"Of the rate of the codecs that the peer may send (b=AS), what is admitted for long, at least 100. 0: everything."`
	Burst   time.Duration `conf:"burst" default:"2s" range:"100ms..30s" doc:"How much of that rate may come at once, as after a stall of the network."`
}

// DTMFConfig is how digits are carried.
type DTMFConfig struct {
	Access string `conf:"access" default:"auto" range:"auto|info|in-band" doc:"To browsers. auto: telephone-events (RFC 4733) where agreed, else tones, but by INFO where the codec is AMR, or one that is only relayed, and the peer takes INFO; info: by INFO always; in-band: like auto but never INFO, and tones are looked for in the audio of peers without telephone-events, which is transcoded for that."`
	Core   string `conf:"core" default:"auto" range:"auto|info|in-band" doc:"To the core, likewise."`
	Info   string `conf:"info" default:"dtmf-relay" range:"dtmf-relay|dtmf" doc:"Body of INFO that we send: application/dtmf-relay or application/dtmf."`
}

func (c *DTMFConfig) policy() callcore.Digits {
	return callcore.Digits{Access: callcore.DigitForm(c.Access), Core: callcore.DigitForm(c.Core), Info: callcore.InfoBody(c.Info)}
}

// CallConfig bounds calls.
type CallConfig struct {
	NoAnswer        time.Duration `conf:"no_answer" default:"180s" range:"10s..10m" doc:"Longest ringing."`
	SetUp           time.Duration `conf:"set_up" default:"15s" range:"2s..2m" doc:"From the answer to connected media."`
	Ringback        string        `conf:"ringback" default:"off" range:"off|gateway" doc:"What a browser hears while the core's phone rings and sends no media. off: what its application plays, as the web phone does; gateway: the ringing tone of the media gateway, for applications that play none. The codec towards the browser is then chosen before the core's is known."`
	Announce        []string      `conf:"announce" doc:"What a browser that calls hears before it gets a final response of the core: STATUS=SIGNAL, where SIGNAL is busy, congestion, special or file:NAME, an announcement that each media gateway has, like 486=busy,480=file:away. Empty: nothing."`
	Announced       time.Duration `conf:"announce_longest" default:"20s" range:"1s..3m" doc:"Longest time from that response until the browser gets it."`
	InactiveAfter   time.Duration `conf:"inactive_after" default:"30s" range:"1s..1h" doc:"Silence of a peer that shall send, after which the media gateway tells (H.248.40)."`
	InactiveRelease time.Duration `conf:"inactive_release" default:"0s" range:"0s..24h" doc:"How long after that, in all audio lines that are not on hold, the call is ended. 0: never."`
	InactiveRTCP    bool          `conf:"inactive_rtcp" default:"true" doc:"RTCP of the peer counts as its media, so that phones that pause in silence are not taken for gone."`

	AudioStreams int `conf:"audio_streams" default:"4" range:"1..8" doc:"Most live audio m= lines of a call, each with a stream of its own in the media gateway, when both peers have them. Further lines are refused; so are all but the first as long as a media gateway of the pool lacks the capability streams, of browsers that do not bundle, and of calls with preconditions."`

	Drain     time.Duration `conf:"drain" default:"10s" range:"1s..10m" doc:"Longest ordered stop. In a pool the calls go over to other instances; up to two fifths of the time are for those that are being set up. Where there is no other instance, and of those that are not answered by then, calls are released."`
	FlowGrace time.Duration `conf:"flow_grace" default:"60s" range:"0s..1h" doc:"How long a call outlives its browser's WebSocket."`
	Max       int           `conf:"max" default:"0" range:"0..1000000" doc:"Most calls of this instance; 0: no limit."`
	PerUser   int           `conf:"max_per_user" default:"20" range:"0..1000000" doc:"Most calls of one registration at a time; 0: no limit."`
}

// IqConfig is the control link.
type IqConfig struct {
	Listen   string `conf:"listen" default:"127.0.0.1:7400" doc:"Address and port that media gateways register at."`
	Insecure bool   `conf:"insecure" default:"false" doc:"Allow plaintext beyond loopback."`
	Cert     string `conf:"cert" doc:"PEM certificate; with key and ca: mutual TLS. It must carry the host, name or IP address, that media gateways have for us in iq.mgc."`
	Key      string `conf:"key" doc:"PEM private key."`
	CA       string `conf:"ca" doc:"PEM file of accepted CAs."`
}

// StoreConfig is where shared state lives.
type StoreConfig struct {
	URL      string `conf:"url" doc:"NATS cluster of the pool, nats://host:port; empty: embedded, for a single instance."`
	Replicas int    `conf:"replicas" default:"1" range:"1..5" doc:"Copies of each record in an external cluster."`
}

// AdminConfig is the operators' side.
type AdminConfig struct {
	Listen string `conf:"listen" default:"127.0.0.1:7401" doc:"Address and port of the gRPC admin service."`
	HTTP   string `conf:"http" default:"127.0.0.1:7402" doc:"Address and port of /metrics, /healthz and /readyz."`
}

// PhoneConfig is what the web phone is told.
type PhoneConfig struct {
	Demo bool `conf:"demo" default:"false" doc:"Offer the demo core's accounts and targets in the web phone."`
}

// Validate implements conf.Validator.
func (c *Config) Validate() error {
	var errs []error
	if c.Access.TLS.Listen != "" && (c.Access.TLS.Cert == "" || c.Access.TLS.Key == "") {
		errs = append(errs, errors.New("access.tls: listen needs cert and key"))
	}
	if err := c.Core.validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Access.Path == "" || c.Access.Path[0] != '/' || c.Access.Path == "/" {
		errs = append(errs, errors.New("access.path: must begin with / and not be /"))
	}
	if c.Auth.Upgrade.Cookie != "" && slices.Contains(c.Access.Origins, "*") { // any web site could speak in the user's name
		errs = append(errs, errors.New("auth.upgrade.cookie: needs access.origins without *"))
	}
	if _, err := c.Call.sounds(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, c.Media.validate(), c.Emergency.Validate(), c.Auth.Validate(), c.Policy.Validate(), c.CDR.Validate(), c.TURN.Validate())...)
}
