package trust

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// pseudonym stands for the name of whoever added a Warning (RFC 3261 §20.43 allows it: it is for debugging).
const pseudonym = "isthmus"

// Masked returns the field as it may cross: a Warning keeps its code and text and loses the host that added it, so that neither
// side learns the other's topology.
func Masked(f headers.Field) headers.Field {
	if !strings.EqualFold(f.Name, "Warning") {
		return f
	}
	list := headers.SplitList(f.Value)
	for i, w := range list {
		code, rest, _ := strings.Cut(strings.TrimSpace(w), " ")
		_, text, ok := strings.Cut(strings.TrimSpace(rest), " ")
		if !ok {
			text = `""` // malformed: what stands there may be anything
		}
		list[i] = code + " " + pseudonym + " " + strings.TrimSpace(text)
	}
	return headers.Field{Name: f.Name, Value: strings.Join(list, ", ")}
}
