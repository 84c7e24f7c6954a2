package flow

import "slices"

// revert gives a restart up: the peer's credentials are again those of a generation that is still there, whose local ones the peer has
// kept too (RFC 3264 §8: after a refused offer all is as before it). Both components go back or none does, since they share credentials
// (RFC 8839 §5.4). False: there is no such generation, or the restart has got a pair in a component. Caller holds mu.
func (a *Access) revert(r *AccessRemote) bool {
	all := []*Access{a}
	if c := a.component2; c != nil && !r.Mux { // else it is given up next
		c.mu.Lock()
		defer c.mu.Unlock()
		all = append(all, c)
	}
	at, n := make([]int, len(all)), make([]uint64, len(all))
	for i, x := range all {
		if at[i] = slices.IndexFunc(x.gens, func(g generation) bool { return g.ufrag == r.Ufrag && g.pwd == r.Pwd }); at[i] < 0 {
			return false
		}
		n[i] = x.gens[at[i]].n
	}
	reverted := false
	a.w.alive(a.s.t, func() {
		for i, x := range all {
			if x.s.gen > n[i] {
				return
			}
		}
		for i, x := range all {
			x.s.revert(a.w.now, n[i])
		}
		reverted = true
	})
	if !reverted {
		return false
	}
	for i, x := range all {
		for _, g := range x.gens[at[i]+1:] {
			g.agent.Close()
		}
		x.gens = slices.Delete(x.gens, at[i]+1, len(x.gens))
	}
	return true
}
