package deploy

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ownStop is how long mgc waits for the ends of the calls that it releases, at most.
const ownStop = 10 * time.Second

// A daemon is given the time that its orderly stop takes before it is killed, with some to spare.
func TestComposeStopsInTime(t *testing.T) {
	f := compose(t, nil)
	var mgw mgwConfig
	effective(t, "mgw", f.Services["mgw"].Environment, &mgw)
	for name, least := range map[string]time.Duration{"mgc": ownStop, "mgw": mgw.Drain.Grace} {
		if g := f.Services[name].StopGrace; least == 0 || g < least+5*time.Second {
			t.Errorf("%s: stop_grace_period %s, it may take %s to stop", name, g, least)
		}
	}
}

// No service can write to its image or gain rights, and the daemons are asked for their health in a way that they understand.
func TestComposeServicesAreConfined(t *testing.T) {
	f := compose(t, nil)
	for name, s := range f.Services {
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read_only %v, cap_drop %v, security_opt %v", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
	}
	if !slices.Contains(f.Services["mgc"].Tmpfs, "/tmp") {
		t.Error("mgc: the embedded store needs a /tmp")
	}
	for _, name := range []string{"mgc", "mgw"} {
		test := f.Services[name].Healthcheck.Test
		if len(test) != 3 || test[0] != "CMD" || test[1] != name {
			t.Errorf("%s: healthcheck %q", name, test)
			continue
		}
		help, err := exec.Command(filepath.Join(root, "bin", name), "--help").Output()
		if err != nil || !strings.Contains(string(help), "\n  "+test[2]+" ") {
			t.Errorf("%s: --help has no %s: %v", name, test[2], err)
		}
	}
}
