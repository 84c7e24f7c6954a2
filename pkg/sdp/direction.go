package sdp

// Direction is sendrecv, sendonly, recvonly or inactive, seen by the one who says it (RFC 8866 §6.7). It is a set of two bits.
type Direction uint8

// Values of Direction.
const (
	DirUnset Direction = 0
	Inactive Direction = 4
	SendOnly Direction = 5
	RecvOnly Direction = 6
	SendRecv Direction = 7
)

// Sends reports whether the speaker sends.
func (d Direction) Sends() bool { return d&1 != 0 }

// Receives reports whether the speaker receives.
func (d Direction) Receives() bool { return d&2 != 0 }

// Reverse returns the same direction as the other end sees it.
func (d Direction) Reverse() Direction {
	switch d {
	case SendOnly:
		return RecvOnly
	case RecvOnly:
		return SendOnly
	}
	return d
}

// And returns what both d and e, seen from the same end, allow. DirUnset counts as inactive.
func (d Direction) And(e Direction) Direction { return d&e&3 | Inactive }

// Dir builds a direction from its two bits.
func Dir(sends, receives bool) Direction {
	d := Inactive
	if sends {
		d |= 1
	}
	if receives {
		d |= 2
	}
	return d
}

// String returns the attribute's name; "" for DirUnset.
func (d Direction) String() string {
	switch d {
	case Inactive:
		return "inactive"
	case SendOnly:
		return "sendonly"
	case RecvOnly:
		return "recvonly"
	case SendRecv:
		return "sendrecv"
	}
	return ""
}

func parseDirection(name string) (Direction, bool) {
	for _, d := range [...]Direction{Inactive, SendOnly, RecvOnly, SendRecv} {
		if d.String() == name {
			return d, true
		}
	}
	return DirUnset, false
}
