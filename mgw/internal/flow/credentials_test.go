package flow

import (
	"testing"

	pionice "github.com/pion/ice/v4"
)

// TestR8839_1_CredentialsOfDeployedPeers: some stacks write ICE credentials in base64url, or with padding, which are no ice-chars of RFC 8839 §5.1. SDP and Iq take
// them, and a call with them connects.
func TestR8839_1_CredentialsOfDeployedPeers(t *testing.T) {
	b := newBed(t, nil)
	a := b.access("a1")
	peer := newBrowserOver(t, pionice.NetworkTypeUDP4, pionice.WithLocalCredentials("a-_Z0+/=", "base64url-with_padding+of/two=="))
	if err := a.SetRemote(peer.remote(RoleServer)); err != nil {
		t.Fatal(err)
	}
	peer.connect(a.Local())
	if err := peer.secure(a.Local(), true); err != nil {
		t.Error(err)
	}
}
