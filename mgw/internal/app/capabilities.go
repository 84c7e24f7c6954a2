package app

import (
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/control"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// capabilities is what the gateway can do now (H.248.1 §7.2.6).
func (a *App) capabilities(version string) func() *iqv1.Capabilities {
	fixed := capabilities(a.cfg, version)
	return func() *iqv1.Capabilities {
		c := proto.Clone(fixed).(*iqv1.Capabilities)
		c.Announcements = a.library.Names()
		for _, r := range c.Realms {
			r.Unavailable = a.whyUnavailable(r.Name) != ""
		}
		return c
	}
}

// capabilities is the part that stays.
func capabilities(cfg Config, version string) *iqv1.Capabilities {
	c := &iqv1.Capabilities{
		Software: "isthmus-mgw/" + version, ProfileVersion: control.ProfileVersion, IceModes: []string{"lite"},
		SrtpProfiles: flow.SRTPProfiles(), MaxContexts: uint32(cfg.Contexts.Max),
		Features: []string{"sdes", "sdes-mki", "streams", "signals", "quality", "rtcp-xr", "inactivity-rtcp"}, Signals: connmodel.SignalNames(),
	}
	for _, x := range transcode.Available() {
		c.Codecs = append(c.Codecs, &iqv1.Codec{PayloadType: uint32(x.PT), Name: x.Name, ClockRate: x.ClockRate, Channels: uint32(x.ChannelCount())})
	}
	for _, r := range cfg.Realms.Access {
		access := realm(r.Name, iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS, r.Listen, r.Advertise)
		access.IceMode = iqv1.TransportGroup_ICE_MODE_LITE
		if r.ICE == iceFull {
			access.IceMode = iqv1.TransportGroup_ICE_MODE_FULL
			if !slices.Contains(c.IceModes, iceFull) {
				c.IceModes = append(c.IceModes, iceFull)
			}
		}
		if r.Second.IsValid() {
			access.Addresses = append(access.Addresses, realm("", 0, r.Second, r.SecondAdv).Addresses...)
		}
		if r.RTCPPort != 0 && !slices.Contains(c.Features, "rtcp-component") {
			c.Features = append(c.Features, "rtcp-component")
		}
		c.Realms = append(c.Realms, access)
	}
	for _, r := range cfg.Realms.Core {
		c.Realms = append(c.Realms, realm(r.Name, iqv1.TerminationDescriptor_KIND_RTP_CORE, r.Listen, r.Advertise))
	}
	return c
}

func realm(name string, kind iqv1.TerminationDescriptor_Kind, listen, advertise netip.Addr) *iqv1.Realm {
	if !advertise.IsValid() {
		advertise = listen
	}
	return &iqv1.Realm{Name: name, Kind: kind, Addresses: []string{advertise.String()}, InterfaceId: interfaceOf(listen)}
}
