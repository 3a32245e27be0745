/* What the kernel's FUSE can do and libfuse 3.14 does not pass on, arranged where the two meet: requests are changed a little before
 * libfuse takes them apart.
 *
 *	FUSE_TMPFILE	has CREATE's form: it becomes a create of the name "/", which is no name
 *	HANDLE_KILLPRIV_V2	the kernel tells with each write whether it takes set-ID bits from the file, instead of asking
 *			for the file's capabilities before each write, which takes as long as the write itself */
#include "mount.h"
#include <errno.h>
#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

static void wire_write(struct fuse_write_in *in)
{
	in->flags &= ~(uint32_t)WIRE_KILL;
	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
		in->flags |= WIRE_KILL;
}

static void wire_init(struct mount *m, const struct fuse_in_header *h, const struct fuse_init_in *in)
{
	m->killpriv = (in->flags & FUSE_HANDLE_KILLPRIV_V2) != 0;
	m->init_unique = h->unique;
}

static ssize_t wire_read(int fd, void *buf, size_t len, void *userdata)
{
	struct fuse_in_header *h = buf;
	ssize_t n = read(fd, buf, len);

	if (n < (ssize_t)sizeof(*h))
		return n;
	if (h->opcode == FUSE_INIT && (size_t)n >= sizeof(*h) + sizeof(struct fuse_init_in))
		wire_init(userdata, h, (const struct fuse_init_in *)(h + 1));
	else if (h->opcode == FUSE_TMPFILE)
		h->opcode = FUSE_CREATE;
	else if (h->opcode == FUSE_WRITE && (size_t)n >= sizeof(*h) + sizeof(struct fuse_write_in))
		wire_write((struct fuse_write_in *)(h + 1));
	return n;
}

static ssize_t wire_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct mount *m = userdata;
	const struct fuse_out_header *h = iov[0].iov_base;
	struct fuse_init_out *init;

	if (m->killpriv && h->unique == m->init_unique && count == 2 && iov[1].iov_len >= FUSE_COMPAT_22_INIT_OUT_SIZE) {
		init = iov[1].iov_base;
		init->flags |= FUSE_HANDLE_KILLPRIV_V2;
	}
	return writev(fd, iov, count);
}

int wire_start(struct mount *m)
{
	static const struct fuse_custom_io io = {.read = wire_read, .writev = wire_writev};

	return fuse_session_custom_io(m->se, &io, fuse_session_fd(m->se));
}
