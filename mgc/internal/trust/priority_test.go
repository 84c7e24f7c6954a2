package trust

import "testing"

// TestMO07_IQ19_ResourcePriority: a browser's word is worth nothing and does not cross; the core's is shown, and gives its calls a priority where the core is in the
// trust domain, the highest of several.
func TestMO07_IQ19_ResourcePriority(t *testing.T) {
	for value, want := range map[string]uint32{
		"ets.0": 14, "wps.4": 10, "WPS.1": 13, "ets.3, wps.2": 12, "q735.0, ets.4": 10, " ets.2 ": 12,
		"ets.5": 0, "ets.": 0, "ets": 0, "ets.00": 0, "dsn.flash": 0, "": 0, "wps.-1": 0, "esnet.0": 0,
	} {
		m := msg("Resource-Priority: " + value)
		if got := ims.Priority(m); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
		if got := (Profile{}).Priority(m); got != 0 {
			t.Errorf("%q of a core outside the trust domain: %d", value, got)
		}
		if got := text(ims.ToCore(m)); got != "" {
			t.Errorf("a browser's crosses: %s", got)
		}
		if got := text(ims.ToBrowser(m)); got != "Resource-Priority: "+value {
			t.Errorf("the core's %q crosses as %q", value, got)
		}
	}
	if got := ims.Priority(msg("Resource-Priority: wps.3", "Resource-Priority: ets.1")); got != 13 {
		t.Errorf("two fields: %d", got)
	}
}
