package sipnode

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/emiago/sipgo/sip"
)

// NewTag makes a From or To tag with 64 bits of randomness (RFC 3261 §19.3 asks for 32).
func NewTag() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// NewResponse builds a response to req with no body: Via list, From, To (with a tag, except for 100),
// Call-ID, CSeq, and Record-Route where RFC 3261 §12.1.1 wants it.
func NewResponse(req *sip.Request, code int, reason string) *sip.Response {
	res := sip.NewResponse(code, reason)
	for _, h := range req.GetHeaders("Via") {
		res.AppendHeader(sip.HeaderClone(h))
	}
	if code > 100 && code < 300 {
		for _, h := range req.GetHeaders("Record-Route") {
			res.AppendHeader(sip.HeaderClone(h))
		}
	}
	res.AppendHeader(sip.HeaderClone(req.From()))
	to := &sip.ToHeader{DisplayName: req.To().DisplayName, Address: *req.To().Address.Clone(), Params: req.To().Params.Clone()}
	if code != 100 && !to.Params.Has("tag") {
		to.Params.Add("tag", NewTag())
	}
	res.AppendHeader(to)
	res.AppendHeader(sip.HeaderClone(req.CallID()))
	res.AppendHeader(&sip.CSeqHeader{SeqNo: req.CSeq().SeqNo, MethodName: req.Method})
	res.SetBody(nil)
	return res
}

func newMaxForwards(v uint32) *sip.MaxForwardsHeader {
	h := sip.MaxForwardsHeader(v)
	return &h
}

// SetMaxForwards replaces or adds the header; the library's clones share it, so a changed value must
// be a new header.
func SetMaxForwards(req *sip.Request, v uint32) {
	if req.MaxForwards() != nil {
		req.ReplaceHeader(newMaxForwards(v))
		return
	}
	req.AppendHeader(newMaxForwards(v))
}
