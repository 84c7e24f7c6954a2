package sipp

import (
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// registrar is the core's registrar: it accepts every REGISTER, keeps Contact and Path, and gives each user the Service-Route
// that leads its calls to that test's sipp.
type registrar struct {
	node *sipnode.Node

	mu    sync.Mutex // guards what follows
	users map[string]*served
}

// served is one user.
type served struct {
	serviceRoute  string
	path, contact string // "" until registered
}

func newRegistrar(listen string) (*registrar, error) {
	r := &registrar{users: map[string]*served{}}
	var err error
	r.node, err = sipnode.Listen(sipnode.Config{Listen: listen, Timers: sipnode.Timers{T1: t1}}, r)
	return r, err
}

// Close ends the registrar.
func (r *registrar) Close() error { return r.node.Close() }

// serve makes the user known.
func (r *registrar) serve(user, serviceRoute string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[user] = &served{serviceRoute: serviceRoute}
}

// binding returns what the user registered.
func (r *registrar) binding(user string) served {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u := r.users[user]; u != nil {
		return *u
	}
	return served{}
}

// ServeRequest implements sipnode.Handler.
func (r *registrar) ServeRequest(tx *sipnode.ServerTx) {
	req := tx.Request()
	if req.Method != sip.REGISTER {
		tx.Reply(405, "Method Not Allowed")
		return
	}
	path, contact := req.GetHeader("Path"), req.Contact()
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.users[req.To().Address.User]
	if u == nil || path == nil || contact == nil {
		tx.Reply(404, "Not Found")
		return
	}
	u.path, u.contact = path.Value(), contact.Address.String()
	expires := "600"
	if h := req.GetHeader("Expires"); h != nil {
		expires = h.Value()
	}
	tx.Reply(200, "OK", sip.NewHeader("Contact", "<"+u.contact+">;expires="+expires), sip.NewHeader("Path", u.path),
		sip.NewHeader("Service-Route", u.serviceRoute), sip.NewHeader("Date", time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")))
}

// ServeAck implements sipnode.Handler.
func (r *registrar) ServeAck(*sip.Request, sipnode.Target) {}
