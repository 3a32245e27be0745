/* io_uring: registered buffers, which the kernel holds from registration to deregistration. */
#include "pinner.h"
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct io_uring ring;
static const struct pin_target *target;
static int host, gate[2]; /* the other side of the transfers; what holds them up */

static int prepare(const char **why)
{
	int err = io_uring_queue_init(PIN_PARTS + 1, &ring, 0);

	*why = "io_uring";
	if (err)
		return err;
	host = memfd_create("host", MFD_CLOEXEC);
	return host < 0 || ftruncate(host, PIN_BYTES) || pipe(gate) ? -errno : 0;
}

static int attach(const struct pin_target *t)
{
	target = t;
	return io_uring_register_buffers(&ring, t->iov, (unsigned)t->parts);
}

static void reap(size_t count)
{
	struct io_uring_cqe *cqe;

	for (size_t i = 0; i < count; i++) {
		pin_must(io_uring_wait_cqe(&ring, &cqe), "io_uring_wait_cqe");
		pin_must(cqe->res, "a transfer of the ring");
		io_uring_cqe_seen(&ring, cqe);
	}
}

/* One chain: a read of the gate, then reads into the registered buffers. None begins before the one
 * ahead of it is complete. */
static void start(unsigned round)
{
	static char token;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	uint64_t off = 0;

	pin_must(pwrite(host, pin_bytes(round), PIN_BYTES, 0) == PIN_BYTES ? 0 : -errno, "host");
	io_uring_prep_read(sqe, gate[0], &token, 1, 0);
	for (size_t i = 0; i < target->parts; off += target->iov[i++].iov_len) {
		sqe->flags |= IOSQE_IO_LINK;
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_read_fixed(sqe, host, target->iov[i].iov_base,
					 (unsigned)target->iov[i].iov_len, off, (int)i);
	}
	pin_must(io_uring_submit(&ring), "io_uring_submit");
}

/* And out again, by writes from the same buffers. */
static bool write_back(unsigned round)
{
	unsigned char *back = calloc(1, PIN_BYTES);
	struct io_uring_sqe *sqe;
	uint64_t off = 0;
	bool same;

	pin_must(back ? pwrite(host, back, PIN_BYTES, 0) : -ENOMEM, "host");
	for (size_t i = 0; i < target->parts; off += target->iov[i++].iov_len) {
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_write_fixed(sqe, host, target->iov[i].iov_base,
					  (unsigned)target->iov[i].iov_len, off, (int)i);
	}
	pin_must(io_uring_submit(&ring), "io_uring_submit");
	reap(target->parts);
	same = pread(host, back, PIN_BYTES, 0) == PIN_BYTES &&
	       memcmp(back, pin_bytes(round), PIN_BYTES) == 0;
	free(back);
	return same;
}

static bool finish(unsigned round)
{
	pin_must(write(gate[1], "g", 1) == 1 ? 0 : -errno, "gate");
	reap(target->parts + 1);
	return write_back(round);
}

static void detach(void)
{
	pin_must(io_uring_unregister_buffers(&ring), "io_uring_unregister_buffers");
	io_uring_queue_exit(&ring);
}

int main(int argc, char **argv)
{
	static const struct pinner p = {.name = "uring",
					.call = "io_uring_register_buffers",
					.prepare = prepare,
					.attach = attach,
					.start = start,
					.finish = finish,
					.detach = detach};

	return pinner_main(argc, argv, &p);
}
