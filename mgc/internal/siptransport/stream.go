package siptransport

import (
	"bytes"
	"errors"
	"strconv"
)

// Errors of stream framing; after either the stream has no message border any more and must be closed.
var (
	errTooLarge = errors.New("siptransport: message too large")
	errNoLength = errors.New("siptransport: no usable Content-Length")
)

// frame is what stands at the start of a stream buffer.
type frame struct {
	skip int  // bytes of CRLF before the message, to be dropped
	ping bool // the CRLFs held a double one: a keep-alive to be answered (RFC 5626 §3.5.1)
	size int  // whole message after skip; 0: more bytes are needed
	head int  // length of its header section with the empty line; 0: not complete
}

// nextFrame finds the first message of buf by its Content-Length (RFC 3261 §18.3). On errNoLength head tells how far the
// header section goes, so that the request can be answered before the stream is closed.
func nextFrame(buf []byte, limit int) (frame, error) {
	var f frame
	for bytes.HasPrefix(buf[f.skip:], crlf) {
		f.skip += 2
	}
	f.ping = f.skip >= 4
	buf = buf[f.skip:]
	i := bytes.Index(buf, []byte("\r\n\r\n"))
	if i < 0 {
		if len(buf) > limit {
			return f, errTooLarge
		}
		return f, nil
	}
	f.head = i + 4
	n, ok := contentLength(buf[:i+2])
	if !ok {
		return f, errNoLength
	}
	if n > limit-f.head {
		return f, errTooLarge
	}
	if len(buf) >= f.head+n {
		f.size = f.head + n
	}
	return f, nil
}

var crlf = []byte("\r\n")

// contentLength finds the one Content-Length of a header section. Two of them, or one that is no number, leave the end of
// the message unknown. Folded values are understood.
func contentLength(head []byte) (int, bool) {
	found, n := false, 0
	for len(head) > 0 {
		end := bytes.Index(head, crlf)
		if end < 0 {
			end = len(head)
		}
		for end+2 < len(head) && (head[end+2] == ' ' || head[end+2] == '\t') { // folded
			next := bytes.Index(head[end+2:], crlf)
			if next < 0 {
				end = len(head)
				break
			}
			end += 2 + next
		}
		line := head[:end]
		head = head[min(end+2, len(head)):]
		name, value, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimRight(name, " \t")
		if !ok || !bytes.EqualFold(name, []byte("Content-Length")) && !bytes.EqualFold(name, []byte("l")) {
			continue
		}
		u, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if found || err != nil {
			return 0, false
		}
		found, n = true, int(u)
	}
	return n, found
}
