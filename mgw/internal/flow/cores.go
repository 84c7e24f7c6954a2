package flow

import "runtime"

// cores is read before any Engine adds to GOMAXPROCS.
var cores = runtime.GOMAXPROCS(0)

// Cores is how many processors this process may keep busy, as it was at the start: those of the machine, or fewer where affinity, the CPU
// quota of a container or GOMAXPROCS says so.
func Cores() int { return cores }
