package flow

import (
	"errors"
)

// Engine owns the workers, sockets and terminations. Its methods are safe from any goroutine.
type Engine struct{}

// New opens the access sockets and starts the workers. Errors: a bad Config, or a socket that cannot be opened; then nothing is left.
func New(cfg Config) (*Engine, error) { return nil, errors.ErrUnsupported }

// Close ends every termination and worker and waits until no goroutine, socket or buffer is left. Idempotent.
func (e *Engine) Close() error { return nil }

// Fingerprint is that of the certificate that new access terminations use.
func (e *Engine) Fingerprint() Fingerprint { return Fingerprint{} }

// RotateCertificate makes new access terminations use a new generated certificate; associations alive keep theirs (RFC 8827 §6.5).
func (e *Engine) RotateCertificate() error { return errors.ErrUnsupported }

// Counters reads the totals; it does not stop the packet path.
func (e *Engine) Counters() Counters { return Counters{} }

// NewAccess makes an access termination, Inactive and with nothing armed. Errors: ErrUnknownRealm, ErrClosed.
func (e *Engine) NewAccess(spec AccessSpec) (*Access, error) { return nil, errors.ErrUnsupported }

// NewCore makes a core termination, Inactive and with nothing armed. Errors: ErrUnknownRealm, ErrPortsExhausted, ErrClosed.
func (e *Engine) NewCore(spec CoreSpec) (*Core, error) { return nil, errors.ErrUnsupported }

// Connect makes the two flows between a and c; what passes is up to their settings. A termination has one partner at a time.
// Errors: ErrConnected, ErrOtherWorker, ErrClosed. Connecting what is already connected to each other does nothing.
func (e *Engine) Connect(a *Access, c *Core) error { return errors.ErrUnsupported }

// Disconnect ends the flows between a and c, if there are any.
func (e *Engine) Disconnect(a *Access, c *Core) error { return errors.ErrUnsupported }

// Access is a termination towards a browser: ICE-lite, DTLS-SRTP, rtcp-mux.
type Access struct{}

// ID is that of the spec.
func (a *Access) ID() string { return "" }

// Local is what the peer must be told; after an ICE restart the new credentials.
func (a *Access) Local() AccessLocal { return AccessLocal{} }

// SetRemote takes the peer's half; it may be called again. Errors: ErrBadRemote, ErrClosed.
func (a *Access) SetRemote(r AccessRemote) error { return errors.ErrUnsupported }

// RestartICE makes new local credentials ahead of an offer of ours; the old pair stays in use until the peer nominates with the new ones.
// SetRemote with the peer's new credentials completes it. Errors: ErrClosed.
func (a *Access) RestartICE() error { return errors.ErrUnsupported }

// Configure replaces the settings. Errors: ErrBadSettings, ErrUnsupported, ErrClosed; then the settings before stay.
func (a *Access) Configure(s Settings) error { return errors.ErrUnsupported }

// Stats reads the counters.
func (a *Access) Stats() Stats { return Stats{} }

// Close ends the termination, waits until its goroutines are gone and returns the final counters. Idempotent; later calls return the same.
func (a *Access) Close() Stats { return Stats{} }

// Core is a termination towards the core network: plain RTP/AVP on a port pair.
type Core struct{}

// ID is that of the spec.
func (c *Core) ID() string { return "" }

// Local is what the peer must be told.
func (c *Core) Local() CoreLocal { return CoreLocal{} }

// SetRemote takes the peer's address; it may be called again. Errors: ErrBadRemote, ErrClosed.
func (c *Core) SetRemote(r CoreRemote) error { return errors.ErrUnsupported }

// Configure replaces the settings. Errors: ErrBadSettings, ErrUnsupported, ErrClosed; then the settings before stay.
func (c *Core) Configure(s Settings) error { return errors.ErrUnsupported }

// Stats reads the counters.
func (c *Core) Stats() Stats { return Stats{} }

// Close ends the termination, releases its ports and returns the final counters. Idempotent; later calls return the same.
func (c *Core) Close() Stats { return Stats{} }
