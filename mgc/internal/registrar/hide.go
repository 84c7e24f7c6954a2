package registrar

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/trust"
)

// hide takes out of the core's answer what tells of its hosts: header fields and AKA keys for the gateway only, who added a Warning, and contacts
// of devices that are no browsers. own is the Contact of the request.
//
// DEVIATES RFC 3261 §10.3: a 200 shall list all bindings. The addresses of a user's desk phones are the core network's, and a
// browser looks only for its own.
func hide(resp *headers.Msg, own string) {
	for _, name := range fromCore {
		resp.Del(name)
	}
	auth.KeepKeys(resp)
	contacts, err := headers.ParseAddresses(headers.List(resp, "Contact"))
	if err != nil {
		contacts = nil
	}
	resp.Del("Contact")
	for _, c := range contacts {
		if u, err := headers.ParseURI(c.URI); err != nil || !headers.EqualURI(c.URI, own) && !strings.HasSuffix(strings.ToLower(u.Host), ".invalid") {
			continue
		}
		c.Params.Del("received") // where the registrar saw us, and how it comes back
		c.Params.Del("path")
		resp.Add("Contact", c.String())
	}
	for i, f := range resp.Fields {
		resp.Fields[i] = trust.Masked(f)
	}
}
