#ifndef ISTHMUS_FLOOR_H
#define ISTHMUS_FLOOR_H

#include <netinet/in.h>

struct floor_call {
	int fd;                     // the call's socket
	struct sockaddr_in browser; // sends to and receives from the shared socket
	struct sockaddr_in core;    // the same with fd
};

// floor_run relays between the shared socket and the calls' sockets until stop is readable. tag: octets that a datagram is longer on the
// shared socket. gather: sleep under load as a gateway may. Returns 0 or -errno.
int floor_run(int shared, const struct floor_call *calls, int n, int tag, int gather, int stop);

#endif
