package connmodel

import (
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// iceMode decides between full and lite ICE at Add (TS 23.334 §6.2.17.1, §6.2.17.2). Without a TransportGroup all is CHOOSE.
func iceMode(m *iqv1.TransportGroup, realm Realm) (full bool, err *Error) {
	mode := m.GetIceMode()
	if mode == iqv1.TransportGroup_ICE_MODE_UNSPECIFIED && m != nil {
		mode = iqv1.TransportGroup_ICE_MODE_FULL
		if m.GetIceLite() {
			mode = iqv1.TransportGroup_ICE_MODE_LITE
		}
	}
	switch mode {
	case iqv1.TransportGroup_ICE_MODE_UNSPECIFIED, iqv1.TransportGroup_ICE_MODE_CHOOSE:
		return realm.FullICE, nil
	case iqv1.TransportGroup_ICE_MODE_LITE:
		return false, nil
	case iqv1.TransportGroup_ICE_MODE_FULL:
		if !realm.FullICE {
			return false, Errorf(gwerr.NotImplemented, "full ICE; ice_lite must be true")
		}
		return true, nil
	}
	return false, Errorf(gwerr.UnsupportedValue, "ice_mode %d", mode)
}

// applyTransport sets the ICE and DTLS parameters (TS 23.334 §6.2.17, §6.2.10).
func (t *Termination) applyTransport(m *iqv1.TransportGroup) *Error {
	if ice := m.GetLocalIce(); ice.GetUfrag() != "" && (ice.GetUfrag() != t.Local.Ufrag || ice.GetPwd() != "" && ice.GetPwd() != t.Local.Pwd) {
		return Errorf(gwerr.UnsupportedValue, "local_ice: the gateway chooses the credentials")
	}
	switch m.GetIceRole() {
	case iqv1.TransportGroup_ICE_ROLE_UNSPECIFIED:
	case iqv1.TransportGroup_ICE_ROLE_CONTROLLING:
		t.Controlling = t.FullICE // a lite agent never controls
	case iqv1.TransportGroup_ICE_ROLE_CONTROLLED:
		t.Controlling = false
	default:
		return Errorf(gwerr.UnsupportedValue, "ice_role %d", m.GetIceRole())
	}
	if m.GetRemoteIce() != nil {
		if err := t.applyRemoteICE(m.GetRemoteIce()); err != nil {
			return err.at("remote_ice")
		}
	}
	if m.GetRemoteDtls() != nil {
		fps, err := parseFingerprints(m.GetRemoteDtls().GetFingerprints())
		if err != nil {
			return err.at("remote_dtls")
		}
		if len(fps) > 0 {
			t.RemoteFingerprints = fps
		}
		t.RemoteTLSID = Clip(m.GetRemoteDtls().GetTlsId())
	}
	if err := t.applyRole(m.GetLocalDtls().GetRole(), m.GetRemoteDtls().GetRole()); err != nil {
		return err
	}
	switch {
	case t.RemoteUfrag == "" && len(t.RemoteFingerprints) == 0:
		return nil
	case t.RemoteUfrag == "":
		return Errorf(gwerr.MissingRemoteOrLocal, "remote_dtls without remote_ice")
	case len(t.RemoteFingerprints) == 0:
		return Errorf(gwerr.MissingRemoteOrLocal, "remote_ice without a fingerprint in remote_dtls")
	case t.Role == RoleUnset:
		return Errorf(gwerr.MissingRemoteOrLocal, "DTLS role in neither local_dtls nor remote_dtls")
	}
	return nil
}

func (t *Termination) applyRemoteICE(m *iqv1.IceParameters) *Error {
	if err := checkICECredentials(m.GetUfrag(), m.GetPwd()); err != nil {
		return err
	}
	cands, err := parseCandidates(m.GetCandidates())
	if err != nil {
		return err
	}
	t.RemoteUfrag, t.RemotePwd, t.RemoteCandidates, t.RemoteEnd = m.GetUfrag(), m.GetPwd(), cands, m.GetEndOfCandidates()
	return nil
}

// applyRole takes our DTLS role from local_dtls, or as the opposite of the peer's.
func (t *Termination) applyRole(local, remote iqv1.DtlsParameters_Role) *Error {
	const unset = iqv1.DtlsParameters_ROLE_UNSPECIFIED
	if local == unset && remote == unset {
		return nil
	}
	if local == remote {
		return Errorf(gwerr.UnsupportedValue, "both sides have DTLS role %s", local)
	}
	if local == unset {
		local = map[iqv1.DtlsParameters_Role]iqv1.DtlsParameters_Role{
			iqv1.DtlsParameters_ROLE_CLIENT: iqv1.DtlsParameters_ROLE_SERVER,
			iqv1.DtlsParameters_ROLE_SERVER: iqv1.DtlsParameters_ROLE_CLIENT,
		}[remote]
	}
	switch local {
	case iqv1.DtlsParameters_ROLE_CLIENT:
		t.Role = RoleClient
	case iqv1.DtlsParameters_ROLE_SERVER:
		t.Role = RoleServer
	default:
		return Errorf(gwerr.UnsupportedValue, "DTLS role %d", max(int32(local), int32(remote)))
	}
	return nil
}
