#include "peer.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEER_ATTACH = 1, PEER_START, PEER_FINISH };

struct peer_order {
	int what;
	unsigned round;
};

static pid_t pid;

static bool pending(int sock)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

static int again_and_again(const struct peer *peer, int sock, unsigned round)
{
	struct peer_order o;
	int err;

	do
		err = peer->write(round);
	while (!err && !pending(sock));
	if (recv(sock, &o, sizeof(o), 0) != sizeof(o) || o.what != PEER_FINISH)
		return -EPROTO;
	return err ? err : peer->write(round);
}

static void serve(const struct peer *peer, int sock)
{
	struct peer_order o;
	int err;

	while (recv(sock, &o, sizeof(o), 0) == sizeof(o)) {
		err = o.what == PEER_ATTACH ? peer->attach(sock)
					    : again_and_again(peer, sock, o.round);
		if (send(sock, &err, sizeof(err), 0) != sizeof(err))
			_exit(1);
	}
	_exit(0);
}

static int to_peer = -1;

int peer_fork(const struct peer *peer)
{
	pid_t owner = getpid();
	int fd[2];

	pin_must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) ? -errno : 0,
		 "socketpair");
	pid = fork();
	pin_must(pid < 0 ? -errno : 0, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != owner)
			_exit(1);
		close(fd[0]);
		serve(peer, fd[1]);
	}
	close(fd[1]);
	to_peer = fd[0];
	return to_peer;
}

pid_t peer_pid(void)
{
	return pid;
}

static void order(int what, unsigned round)
{
	struct peer_order o = {.what = what, .round = round};

	pin_must(send(to_peer, &o, sizeof(o), MSG_NOSIGNAL) == sizeof(o) ? 0 : -errno, "the peer");
}

void peer_attach(void)
{
	order(PEER_ATTACH, 0);
}

int peer_answer(void)
{
	int err;

	return recv(to_peer, &err, sizeof(err), 0) == sizeof(err) ? err : -EPIPE;
}

void peer_start(unsigned round)
{
	order(PEER_START, round);
}

bool peer_finish(unsigned round)
{
	int err;

	order(PEER_FINISH, round);
	err = peer_answer();
	if (err)
		printf("  the peer's write: error %d\n", -err);
	return !err;
}
