package call

import (
	"context"
	"net/netip"
	"strings"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/bus"
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/emergency"
	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/policy"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/mgc/internal/trust"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Config is what the manager is told at its start; it never changes.
type Config struct {
	Instance    string                     // this instance's name
	AccessHost  string                     // host:port in Contacts given to browsers
	CoreHost    string                     // host:port in Contacts given to the core
	AccessRealm string                     // IP realm of access terminations
	CoreRealm   string                     // IP realm of core terminations
	UserAgent   string                     // Server and User-Agent
	Policy      callcore.Policy            // timers and media
	Trust       trust.Profile              // what crosses the border, what we assert
	Emergency   emergency.Policy           // what becomes of emergency calls
	MaxCalls    int                        // 0: no limit
	MaxPerUser  int                        // of one binding, 0: no limit
	Alone       bool                       // the store ends with this process: records are not written ahead, as nobody could read them after
	Alive       func(instance string) bool // whether an instance of the pool is alive
}

// Deps are the parts that calls use; all are needed but where said.
type Deps struct {
	Store      store.Store
	Sealer     *flowtoken.Sealer
	Bindings   Bindings
	Gateways   Gateways
	Signalling Signalling
	Bus        *bus.Bus // to the other instances; nil: there are none
	Metrics    *Metrics
	Log        *zap.Logger

	Policy  policy.Agent                 // nil: no policy function is asked
	Records Recorder                     // of call data; nil: none are written
	PeerOf  func(flow string) netip.Addr // address of the browser of a connection; invalid: not known; nil: none is
}

// Binding is a browser's registration as a call sees it.
type Binding struct {
	ID           string   // names the binding for as long as it lives, also across WebSockets
	AOR          string   // canonical "sip:user@host"
	Identities   []string // AORs that it may use: its own and the implicitly registered ones
	Default      string   // the one that is asserted when it prefers none; "": its own
	Contact      string   // URI that the browser registered
	ServiceRoute []string // Route values towards the core
	FlowID       string   // connection of this instance that reaches the browser; "" when there is none
	Elsewhere    string   // the other instance that has a connection to the browser; "" when none has
}

// identity is who may act over the binding's flow.
func (b Binding) identity() trust.Identity {
	id := trust.Identity{Default: b.Default, All: b.Identities}
	if id.Default == "" {
		id.Default = b.AOR
	}
	for _, x := range b.Identities {
		if strings.HasPrefix(x, "tel:") {
			id.Aliases = append(id.Aliases, x)
		}
	}
	return id
}

// Bindings finds registrations. Methods are safe for concurrent use and do not block on the network.
type Bindings interface {
	// OfFlow returns the bindings made over the connection.
	OfFlow(flowID string) []Binding
	// ByID returns the binding, false when it has ended.
	ByID(id string) (Binding, bool)
	// ByPathToken returns the binding that the user part of our Path URI names. Errors: flowtoken.ErrForged, ErrNoBinding.
	ByPathToken(token string) (Binding, error)
}

// Node is an MGW and the boot of it that a context lives in.
type Node struct{ MGW, Boot string }

// Gateways performs Iq transactions. Methods are safe for concurrent use; errors are *gwerr.Error.
type Gateways interface {
	// Pick chooses a node for a new context. It does not block on the network.
	Pick(need Need) (Node, error)
	// Codecs returns those of the encoding names that any node which Pick may choose can transcode. It does not block on the network.
	Codecs(names []string) []string
	// Features is the same for capabilities.
	Features(names []string) []string
	// Down is the realms of the node that are not available now; none when another boot of it, or none, is known. It does not block on the network.
	Down(node Node) []string
	// Transact executes req on node; a refusal of the whole transaction is an error too. Ends with ctx.
	Transact(ctx context.Context, node Node, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error)
}

// Need is what a node must have to be chosen.
type Need struct {
	AccessRealm, CoreRealm string
	Codecs                 []string // to be transcoded between, encoding names
	Features               []string // capabilities, besides those that the configuration needs
	Priority               uint32   // from 8 on there is a reserve (TS 23.334 §5.14)
	Emergency              bool     // placed while any capacity is left (TS 23.334 §5.14)
}

// ServerTx is a server transaction of the transaction layer.
type ServerTx interface {
	ID() string
	// Respond sends a response; after the final one it repeats a 2xx as a retransmission (RFC 3261 §13.3.1.4).
	Respond(resp headers.Msg) error
}

// ClientTx is a client transaction of the transaction layer.
type ClientTx interface {
	Cancel(extra []headers.Field) error
}

// Outcome is what a client transaction delivers: a response, or its failure.
type Outcome struct {
	Msg            headers.Msg // Status 0: the transaction failed
	Timeout        bool        // failure by timer B or F
	Retransmission bool        // repeated 2xx
}

// Signalling sends requests. On LegAccess flow names the connection; on LegCore it is empty and the request goes to its
// top Route, else its Request-URI.
type Signalling interface {
	// Request starts a transaction; deliver gets provisional responses and exactly one final outcome, in order.
	Request(leg callcore.Leg, flow string, req headers.Msg, deliver func(Outcome)) (ClientTx, error)
	// Send sends an ACK for a 2xx.
	Send(leg callcore.Leg, flow string, req headers.Msg) error
}
