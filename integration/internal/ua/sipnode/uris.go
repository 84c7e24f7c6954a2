package sipnode

import (
	"strings"

	"github.com/emiago/sipgo/sip"
)

// URIs lists the URIs between angle brackets in all headers of a name, in order.
func URIs(m sip.Message, name string) []string {
	var out []string
	for _, h := range m.GetHeaders(name) {
		for rest := h.Value(); ; {
			_, after, ok := strings.Cut(rest, "<")
			u, tail, ok2 := strings.Cut(after, ">")
			if !ok || !ok2 {
				break
			}
			out, rest = append(out, u), tail
		}
	}
	return out
}
