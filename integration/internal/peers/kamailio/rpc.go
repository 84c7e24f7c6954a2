package kamailio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// Binding is one contact that Kamailio holds for a user.
type Binding struct {
	Contact  string `json:"Address"`
	Expires  int    `json:"Expires"` // s from now
	CSeq     int    `json:"CSeq"`
	CallID   string `json:"Call-ID"`
	Path     string `json:"Path"`
	Instance string `json:"Instance"`
	RegID    int    `json:"Reg-Id"`
	Agent    string `json:"User-Agent"`
	Changed  int64  `json:"Last-Modified"` // UNIX time, s
}

// unbound is what Kamailio says of a user without bindings, and of one whose bindings have expired and are not yet swept.
var unbound = []string{"AOR not found in location table", "AOR has no contacts"}

// Bindings lists what a user has registered; none is no error.
func (p *Proxy) Bindings(ctx context.Context, user string) ([]Binding, error) {
	var found struct {
		Contacts []struct{ Contact Binding }
	}
	err := p.rpc(ctx, &found, "ul.lookup", "location", user)
	if refused := (*refusal)(nil); errors.As(err, &refused) && slices.Contains(unbound, refused.Message) {
		return nil, nil
	}
	var out []Binding
	for _, c := range found.Contacts {
		out = append(out, c.Contact)
	}
	return out, err
}

// Bind adds a contact of a user, as its REGISTER elsewhere would: the call forks to all contacts of a user. It lasts for an hour.
func (p *Proxy) Bind(ctx context.Context, user, contact string) error {
	return p.rpc(ctx, nil, "ul.add", "location", user, contact, 3600, 1.0, ".", 0, 0, 0)
}

// Unbind takes all contacts of a user away, as an operator does; a user without any is no error.
func (p *Proxy) Unbind(ctx context.Context, user string) error {
	err := p.rpc(ctx, nil, "ul.rm", "location", user)
	if refused := (*refusal)(nil); errors.As(err, &refused) && refused.Message == "AOR not found in location table" {
		return nil
	}
	return err
}

// Dialogs counts the calls that the module ims_dialog saw begin and not end; a template must load it.
func (p *Proxy) Dialogs(ctx context.Context) (active int, err error) {
	var stats []string
	if err := p.rpc(ctx, &stats, "stats.get_statistics", "dialog_ng:"); err != nil {
		return 0, err
	}
	for _, s := range stats {
		if _, err := fmt.Sscanf(s, "dialog_ng:active = %d", &active); err == nil {
			return active, nil
		}
	}
	return 0, fmt.Errorf("kamailio: no dialogs in the statistics %q", stats)
}

// LongestBinding bounds the expiry that later registrations are granted, in s.
func (p *Proxy) LongestBinding(ctx context.Context, seconds int) error {
	return p.rpc(ctx, nil, "cfg.seti", "registrar", "max_expires", seconds)
}

// ChallengeCalls says whether later INVITEs must carry credentials (407).
func (p *Proxy) ChallengeCalls(ctx context.Context, on bool) error {
	return p.policy(ctx, "challenge", on)
}

// DawdleOverGoodbyes says whether later de-registrations take 400 ms, so that others overtake them.
func (p *Proxy) DawdleOverGoodbyes(ctx context.Context, on bool) error {
	return p.policy(ctx, "dawdle", on)
}

func (p *Proxy) policy(ctx context.Context, name string, on bool) error {
	v := 0
	if on {
		v = 1
	}
	return p.rpc(ctx, nil, "htable.seti", "policy", name, v)
}

// refusal is a JSON-RPC error.
type refusal struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.Code, r.Message) }

func (p *Proxy) rpc(ctx context.Context, result any, method string, params ...any) error {
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("kamailio: %s: %w", method, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.cfg.Addr+"/rpc", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("kamailio: %s: %w", method, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("kamailio: %s: %w", method, err)
	}
	defer resp.Body.Close()
	var reply struct {
		Result json.RawMessage `json:"result"`
		Error  *refusal        `json:"error"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		return fmt.Errorf("kamailio: %s: %w", method, err)
	}
	if reply.Error != nil {
		return fmt.Errorf("kamailio: %s: %w", method, reply.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(reply.Result, result); err != nil {
		return fmt.Errorf("kamailio: %s: %w in %s", method, err, reply.Result)
	}
	return nil
}
