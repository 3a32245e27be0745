/* A second process that stores into the pinned range: forked before the volume is mounted, told
 * what to do by messages. */
#ifndef PEER_H
#define PEER_H

#include "pinner.h"

struct peer {
	/* In the other process. attach: what the owner sent is taken from 'sock' (and may be
	 * answered); 0 or -errno. */
	int (*attach)(int sock);
	int (*write)(unsigned round); /* the whole range, once; 0 or -errno */
};

/* Owner: the socket to the peer, which ends when the owner does. */
int peer_fork(const struct peer *peer);
pid_t peer_pid(void);
/* Owner: the peer runs its attach(); the owner then sends on 'sock' what that wants, and asks for
 * its answer. */
void peer_attach(void);
int peer_answer(void);
/* It writes again and again, until finish(); once wholly after that. A pinner's own start and
 * finish. */
void peer_start(unsigned round);
bool peer_finish(unsigned round);

#endif
