// The kernel floor: what the kernel asks of one thread that moves datagrams between a shared socket and one socket per call, and does
// nothing else. C, so that no runtime runs beside it.
#define _GNU_SOURCE
#include "floor.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, QUEUE = 256, SIZE = 256, EVENTS = 128, SHARED = -1, STOP = -2 };

static struct mmsghdr in[BATCH], out[QUEUE];
static struct iovec in_iov[BATCH], out_iov[QUEUE];
static struct sockaddr_in in_name[BATCH];
static unsigned char in_buf[BATCH][SIZE], out_buf[QUEUE][SIZE];
static int by_port[65536]; // 1 + index of the call whose browser has the port

static int watch(int ep, int fd, int key) {
	struct epoll_event e = {.events = EPOLLIN, .data.fd = key};
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void prepare(const struct floor_call *calls, int n) {
	memset(by_port, 0, sizeof by_port);
	for (int i = 0; i < n; i++) by_port[ntohs(calls[i].browser.sin_port)] = i + 1;
	for (int i = 0; i < BATCH; i++) {
		in_iov[i] = (struct iovec){in_buf[i], SIZE};
		in[i].msg_hdr = (struct msghdr){.msg_iov = &in_iov[i], .msg_iovlen = 1, .msg_name = &in_name[i]};
	}
	for (int i = 0; i < QUEUE; i++) {
		out_iov[i] = (struct iovec){out_buf[i], 0};
		out[i].msg_hdr = (struct msghdr){.msg_iov = &out_iov[i], .msg_iovlen = 1, .msg_namelen = sizeof(struct sockaddr_in)};
	}
}

// from_shared moves what browsers sent, tag octets shorter, each from the socket of its call.
static int from_shared(int shared, const struct floor_call *calls, int tag) {
	int got = 0, n;
	do {
		for (int i = 0; i < BATCH; i++) in[i].msg_hdr.msg_namelen = sizeof in_name[i];
		n = recvmmsg(shared, in, BATCH, MSG_DONTWAIT, NULL);
		for (int i = 0; i < n; i++) {
			int k = by_port[ntohs(in_name[i].sin_port)];
			int len = (int)in[i].msg_len - tag;
			if (!k || len <= 0) continue;
			sendto(calls[k - 1].fd, in_buf[i], len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&calls[k - 1].core, sizeof calls[0].core);
		}
		if (n > 0) got += n;
	} while (n == BATCH && got < 4 * BATCH);
	return got;
}

static void flush(int shared, int n) {
	for (int at = 0; at < n;) {
		int k = sendmmsg(shared, out + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (k < 0 && errno == EAGAIN) return;
		at += k > 0 ? k : 1;
	}
}

// nap lets datagrams gather as a gateway under load may: as long as 16 of them take, at most 900 us, not below 2 per ms.
static void nap(int got) {
	static long long from;
	static int count, rate;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	long long now = t.tv_sec * 1000000000LL + t.tv_nsec;
	count += got;
	if (now - from >= 10000000) {
		rate = count * 1000000LL / (now - from);
		from = now;
		count = 0;
	}
	if (rate < 2) return;
	long d = 16000000 / rate;
	t = (struct timespec){0, d < 900000 ? d : 900000};
	nanosleep(&t, NULL);
}

int floor_run(int shared, const struct floor_call *calls, int n, int tag, int gather, int stop) {
	struct epoll_event ev[EVENTS];
	int ep = epoll_create1(EPOLL_CLOEXEC), done = 0;
	if (ep < 0) return -errno;
	prepare(calls, n);
	int bad = watch(ep, shared, SHARED) | watch(ep, stop, STOP);
	for (int i = 0; i < n; i++) bad |= watch(ep, calls[i].fd, i);
	while (!bad && !done) {
		int queued = 0, got = 0, k = epoll_wait(ep, ev, EVENTS, -1);
		if (k < 0 && errno != EINTR) bad = 1;
		for (int i = 0; i < k; i++) {
			int key = ev[i].data.fd;
			if (key == STOP) {
				done = 1;
			} else if (key == SHARED) {
				got += from_shared(shared, calls, tag);
			} else {
				int len = recvfrom(calls[key].fd, out_buf[queued], SIZE - tag, MSG_DONTWAIT, NULL, NULL);
				if (len <= 0) continue;
				out_iov[queued].iov_len = len + tag;
				out[queued].msg_hdr.msg_name = (void *)&calls[key].browser;
				queued++;
				got++;
			}
		}
		flush(shared, queued);
		if (gather) nap(got);
	}
	int err = bad ? -errno : 0;
	close(ep);
	return err;
}
