//go:build !cgo || noamr

package transcode

import "github.com/isthmus-gateway/isthmus/mgw/internal/amr"

// amrBuilt is false: this build has neither opencore-amr nor vo-amrwbenc.
const amrBuilt = false

type amrCoder struct{}

func (*amrCoder) open(amr.Codec, bool) error                          { return ErrUnsupported }
func (*amrCoder) isOpen() bool                                        { return false }
func (*amrCoder) encode(uint8, []int16, *[amr.FrameSize]byte) (n int) { return 0 }
func (*amrCoder) close()                                              {}

type amrReader struct{}

func (*amrReader) open(amr.Codec) error   { return ErrUnsupported }
func (*amrReader) isOpen() bool           { return false }
func (*amrReader) decode([]byte, []int16) {}
func (*amrReader) close()                 {}
