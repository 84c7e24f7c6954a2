package app

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
)

// What an operator sets is what the parts are told.
func TestSettingsReachTheParts(t *testing.T) {
	cfg := Defaults()
	args := []string{"--media.consent_after=6s", "--media.inactive_after=7s", "--contexts.max=8", "--contexts.orphan_ttl=19s", "--contexts.hanging_grace=10s", "--contexts.headless_limit=11m",
		"--media.workers=2", "--media.nice=-3", "--media.fill=13", "--realms.access.0.name=web", "--realms.access.0.listen=10.0.0.9", "--realms.access.0.advertise=203.0.113.7",
		"--realms.access.0.second=2001:db8::9", "--realms.access.0.second_advertise=2001:db8::10", "--realms.access.0.port=7500", "--realms.access.0.rtcp_port=7510",
		"--realms.access.0.ice=full", "--realms.access.0.tcp=443", "--realms.core.0.name=ims", "--realms.core.0.listen=10.0.1.9", "--realms.core.0.advertise=10.0.1.10",
		"--realms.core.0.port_min=30000", "--realms.core.0.port_max=30099"}
	if err := conf.Load(&cfg, conf.Options{Name: "mgw", EnvPrefix: "ISTHMUS_MGW_TEST", Args: args, Env: []string{}}); err != nil {
		t.Fatal(err)
	}
	a := &App{cfg: cfg, log: zap.NewNop()}
	c := a.contextsConfig("boot", prometheus.NewRegistry())
	times := [5]time.Duration{c.ConsentAfter, c.InactiveAfter, c.OrphanTTL, c.HangingGrace, c.HeadlessLimit}
	if times != [5]time.Duration{6 * time.Second, 7 * time.Second, 19 * time.Second, 10 * time.Second, 11 * time.Minute} || c.MaxContexts != 8 {
		t.Errorf("contexts: %v, %d", times, c.MaxContexts)
	}
	if web := c.Realms["web"]; len(c.Realms) != 2 || !web.FullICE || !web.Component2 {
		t.Errorf("realms: %+v", c.Realms)
	}
	f := a.flowConfig()
	if f.Workers != 2 || f.Nice != -3 || f.Fill != 13 {
		t.Errorf("packet path: %d workers, nice %d, fill %d", f.Workers, f.Nice, f.Fill)
	}
	web := flow.AccessRealm{Name: "web", Listen: netip.MustParseAddr("10.0.0.9"), Advertise: netip.MustParseAddr("203.0.113.7"), Port: 7500, Second: netip.MustParseAddr("2001:db8::9"),
		SecondAdvertise: netip.MustParseAddr("2001:db8::10"), RTCP: true, RTCPPort: 7510, TCP: 443}
	ims := flow.CoreRealm{Name: "ims", Listen: netip.MustParseAddr("10.0.1.9"), Advertise: netip.MustParseAddr("10.0.1.10"), PortMin: 30000, PortMax: 30099}
	if !slices.Equal(f.Access, []flow.AccessRealm{web}) || !slices.Equal(f.Core, []flow.CoreRealm{ims}) {
		t.Errorf("packet path: %+v, %+v", f.Access, f.Core)
	}
}
