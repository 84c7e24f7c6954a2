package srtp

import "time"

// strangerRate is how many packets of SSRCs that are not known may fail per second, and at once, once one is known. Each costs memory, which pion
// takes before it looks at the tag, where one of a known SSRC costs none. A new source of the peer's is authentic and takes nothing.
const strangerRate = 50

var begin = time.Now()

// monotonic is the time since some moment, ns; never 0.
func monotonic() int64 { return int64(time.Since(begin)) + 1 }
