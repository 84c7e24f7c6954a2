//go:build cgo

package transcode

/*
#include <malloc.h>
#include <stddef.h>

// Bytes in use in all arenas; 0: this C library does not tell.
static size_t isthmus_in_use(void) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
#else
	return 0;
#endif
}
*/
import "C"

// Outside is the memory outside Go's heap that is in use, bytes: that of the codecs in C. 0: not known.
func Outside() int { return int(C.isthmus_in_use()) }
