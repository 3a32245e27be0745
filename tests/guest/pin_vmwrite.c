/* process_vm_writev: another process stores by this one's addresses. The kernel holds the pages for
 * the time of a call only; the other process has the addresses for as long as it likes. */
#include "peer.h"
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static struct pin_target there; /* the peer's */
static pid_t owner;
static int sock;

static int write_there(unsigned round)
{
	struct iovec own = {.iov_base = pin_bytes(round), .iov_len = PIN_BYTES};
	ssize_t n = process_vm_writev(owner, &own, 1, there.iov, there.parts, 0);

	if (n < 0)
		return -errno;
	return n == PIN_BYTES ? 0 : -EFAULT;
}

static int attach_there(int s)
{
	return recv(s, &there, sizeof(there), 0) == sizeof(there) ? write_there(0) : -EPROTO;
}

static int prepare(const char **why)
{
	static const struct peer peer = {.attach = attach_there, .write = write_there};

	*why = "";
	owner = getpid();
	sock = peer_fork(&peer);
	prctl(PR_SET_PTRACER, peer_pid());
	return 0;
}

static int attach(const struct pin_target *t)
{
	peer_attach();
	pin_must(send(sock, t, sizeof(*t), 0) == sizeof(*t) ? 0 : -errno, "send");
	return peer_answer();
}

static void detach(void)
{
	close(sock);
}

int main(int argc, char **argv)
{
	static const struct pinner p = {.name = "vmwrite",
					.call = "process_vm_writev",
					.prepare = prepare,
					.attach = attach,
					.start = peer_start,
					.finish = peer_finish,
					.detach = detach};

	return pinner_main(argc, argv, &p);
}
