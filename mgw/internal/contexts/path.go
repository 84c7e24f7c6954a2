package contexts

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// plan asks the packet path how audio of one format leaves as another.
func plan(from, to codec.Codec) (*iqv1.MediaPath, error) {
	p, err := flow.Plan(from, to)
	if err != nil {
		return nil, err
	}
	return pathMessage(p), nil
}

// pathMessage is a path on Iq; nil when nothing passes.
func pathMessage(p flow.Path) *iqv1.MediaPath {
	kind := map[flow.PathKind]iqv1.MediaPath_Kind{
		flow.PathRelay: iqv1.MediaPath_KIND_RELAY, flow.PathRepack: iqv1.MediaPath_KIND_REPACK, flow.PathTranscode: iqv1.MediaPath_KIND_TRANSCODE,
	}[p.Kind]
	if kind == iqv1.MediaPath_KIND_UNSPECIFIED {
		return nil
	}
	return &iqv1.MediaPath{Kind: kind, From: p.From, To: p.To, Reason: p.Reason}
}
