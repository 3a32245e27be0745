/* A second process as a vhost-user or SPDK target is one: it is sent the volume's descriptor and a
 * list of offsets through a socket, maps them by itself, and stores there. Nothing in the kernel
 * holds the pages: the pin is all there is. */
#include "peer.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE (2u << 20) /* device-DAX is mapped by whole ones */

static struct pin_target mine; /* the peer's: its own addresses */
static int sock;

static int map_part(int fd, size_t i)
{
	uint64_t from = mine.media_off[i] / PAGE * PAGE, skip = mine.media_off[i] - from;
	size_t len = (skip + mine.iov[i].iov_len + PAGE - 1) / PAGE * PAGE;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)from);

	if (p == MAP_FAILED)
		return -errno;
	mine.iov[i].iov_base = p + skip;
	return 0;
}

static int write_there(unsigned round)
{
	pin_fill(&mine, round);
	return 0;
}

/* The list, with the descriptor beside it. */
static int receive(int s, int *fd)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = &mine, .iov_len = sizeof(mine)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};

	if (recvmsg(s, &msg, MSG_CMSG_CLOEXEC) != sizeof(mine) || !CMSG_FIRSTHDR(&msg))
		return -EPROTO;
	memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(*fd));
	return 0;
}

static int attach_there(int s)
{
	int fd, err = receive(s, &fd);

	if (err)
		return err;
	for (size_t i = 0; !err && i < mine.parts; i++)
		err = map_part(fd, i);
	close(fd);
	return err;
}

static int prepare(const char **why)
{
	static const struct peer peer = {.attach = attach_there, .write = write_there};

	*why = "";
	sock = peer_fork(&peer);
	return 0;
}

static int attach(const struct pin_target *t)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)t, .iov_len = sizeof(*t)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int fd = open(t->volume, O_RDWR | O_CLOEXEC);

	pin_must(fd < 0 ? -errno : 0, t->volume);
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	peer_attach();
	pin_must(sendmsg(sock, &msg, 0) == sizeof(*t) ? 0 : -errno, "sendmsg");
	close(fd);
	return peer_answer();
}

static void detach(void)
{
	close(sock);
}

int main(int argc, char **argv)
{
	static const struct pinner p = {.name = "backend",
					.call = "mmap",
					.prepare = prepare,
					.attach = attach,
					.start = peer_start,
					.finish = peer_finish,
					.detach = detach};

	return pinner_main(argc, argv, &p);
}
