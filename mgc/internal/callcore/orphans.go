package callcore

// Orphans returns the failures of the requests that have no final response, in a fixed order. For a successor: their client transactions
// died with the process that sent them, and no response will come.
func (s *State) Orphans() []TxFailed {
	var out []TxFailed
	for tx, c := range s.clientsInOrder() {
		out = append(out, TxFailed{Leg: c.Leg, Tx: tx})
	}
	return out
}
