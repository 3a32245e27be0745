/* A range of a holdfast file as a registered buffer of io_uring.
 *
 * THE RULE: pin before you register, unpin after you deregister. The library sees no reference that
 * it was not told of. Without a pin, or with one that is dropped too early, truncate and unlink
 * give the blocks to the next file that asks, and a read still under way lands in *that* file.
 *
 * What happens here:
 *   1. half of the file /inbox is pinned, and its addresses are registered as buffers of a ring;
 *   2. reads from a host file into them are submitted, behind a gate (a pipe) that is not yet open;
 *   3. /inbox is truncated, unlinked and closed, and none of that waits; another file then takes
 *      all the space that there is, up to -ENOSPC;
 *   4. the gate opens: what arrives is in the pinned pages; the other file has not one byte of it;
 *   5. deregister, unpin: the blocks are free, and the other file can grow into them.
 *
 *      uring_pin [VOLUME]        without one: a volume in memory
 *
 * Registered buffers stay pinned by the kernel for long, which it refuses for mappings of most disk
 * filesystems (EFAULT): device-DAX, tmpfs and memfd are fine. Exits with 77 where io_uring is not
 * allowed. */
#include "example.h"
#include <liburing.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_BYTES (1u << 20)
#define PIN_OFF	   (FILE_BYTES / 4)
#define PIN_BYTES  (FILE_BYTES / 2)
#define IOV_MAX_N  (PIN_BYTES / 4096) /* a range never takes more entries than it has blocks */

/* What the host file holds at off: never 'F', which is what the other file is full of. */
static unsigned char pattern(size_t off)
{
	return (unsigned char)(0x80 | (off * 31 + (off >> 12)));
}

static int host_file(void)
{
	FILE *f = tmpfile();

	if (!f)
		must(-errno, "tmpfile");
	for (size_t i = 0; i < PIN_BYTES; i++)
		putc(pattern(i), f);
	if (fflush(f))
		must(-errno, "host file");
	return fileno(f); /* open until exit */
}

/* One chain: a read of the gate, then reads into the registered buffers. The kernel starts none of
 * them before the one ahead of it is complete. */
static void submit_reads(struct io_uring *ring, int gate, int host, const struct iovec *iov,
			 size_t iovcnt)
{
	static char token;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	uint64_t off = 0;

	io_uring_prep_read(sqe, gate, &token, 1, 0);
	for (size_t i = 0; i < iovcnt; i++) {
		sqe->flags |= IOSQE_IO_LINK;
		sqe = io_uring_get_sqe(ring);
		io_uring_prep_read_fixed(sqe, host, iov[i].iov_base, (unsigned)iov[i].iov_len, off,
					 (int)i);
		off += iov[i].iov_len;
	}
	must(io_uring_submit(ring), "io_uring_submit");
}

static void reap(struct io_uring *ring, size_t count)
{
	struct io_uring_cqe *cqe;

	for (size_t i = 0; i < count; i++) {
		must(io_uring_wait_cqe(ring, &cqe), "io_uring_wait_cqe");
		must(cqe->res, "a read of the ring");
		io_uring_cqe_seen(ring, cqe);
	}
}

static int arrived(const struct iovec *iov, size_t iovcnt)
{
	size_t off = 0;

	for (size_t i = 0; i < iovcnt; i++) {
		const unsigned char *p = iov[i].iov_base;

		for (size_t k = 0; k < iov[i].iov_len; k++, off++)
			if (p[k] != pattern(off))
				return 0;
	}
	return off == PIN_BYTES;
}

int main(int argc, char **argv)
{
	struct hf_pin_options how = {
	    .struct_size = sizeof(how), .flags = HF_PIN_WRITE | HF_PIN_ALLOC, .tag = "uring_pin"};
	static struct iovec iov[IOV_MAX_N];
	size_t iovcnt = IOV_MAX_N;
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	hf_volume *vol;
	hf_file *inbox, *other;
	hf_pin_id pin;
	int gate[2], host = host_file(), err;

	err = io_uring_queue_init(IOV_MAX_N + 1, &ring, 0);
	if (err == -ENOSYS || err == -EPERM || err == -ENOMEM) {
		printf("skipped: no io_uring here: %s\n", strerror(-err));
		return SKIPPED;
	}
	must(err, "io_uring_queue_init");
	must(argc > 1 ? hf_mount(&vol, argv[1], NULL) : hf_mount_memory(&vol, 32 << 20, NULL),
	     "mount");
	must(hf_open(vol, "/inbox", HF_O_RDWR | HF_O_CREAT, 0600, &inbox), "/inbox");
	must(hf_open(vol, "/other", HF_O_RDWR | HF_O_CREAT, 0600, &other), "/other");
	must(hf_ftruncate(inbox, FILE_BYTES), "hf_ftruncate");

	puts("Pinned, then registered:");
	must(hf_pin(inbox, PIN_OFF, PIN_BYTES, &how, iov, &iovcnt, &pin), "hf_pin");
	err = io_uring_register_buffers(&ring, iov, (unsigned)iovcnt);
	if (err == -ENOMEM) {
		puts("skipped: RLIMIT_MEMLOCK is too low to register 512 KiB");
		return SKIPPED;
	}
	if (err == -EFAULT)
		fputs("the kernel lets nobody hold pages of this volume's file system\n", stderr);
	must(err, "io_uring_register_buffers");
	must(pipe(gate) ? -errno : 0, "pipe");
	submit_reads(&ring, gate[0], host, iov, iovcnt);
	expect(io_uring_peek_cqe(&ring, &cqe) == -EAGAIN,
	       "the reads are submitted, none has begun");

	puts("Truncated, unlinked, closed, and the volume filled by another file:");
	must(hf_ftruncate(inbox, 0), "hf_ftruncate");
	must(hf_unlink(vol, "/inbox"), "hf_unlink");
	must(hf_close(&inbox), "hf_close");
	expect(fill(other) > 0, "the other file took what was free, up to -ENOSPC");
	expect(busy_bytes(vol) >= PIN_BYTES,
	       "the pinned blocks are busy: in no file, not handed out");

	puts("The gate opens, the data arrives:");
	must(write(gate[1], "g", 1) == 1 ? 0 : -errno, "gate");
	reap(&ring, iovcnt + 1);
	expect(arrived(iov, iovcnt), "it is in the pinned pages");
	expect(untouched(other), "the other file has seen nothing of it");

	puts("Deregistered, then unpinned:");
	must(io_uring_unregister_buffers(&ring), "io_uring_unregister_buffers");
	must(hf_unpin(vol, pin), "hf_unpin");
	expect(busy_bytes(vol) == 0, "nothing is busy any more");
	expect(fill(other) >= PIN_BYTES, "the other file can grow by what was busy");

	io_uring_queue_exit(&ring);
	must(hf_close(&other), "hf_close");
	must(hf_unlink(vol, "/other"), "hf_unlink");
	must(hf_unmount(&vol), "hf_unmount");
	return 0;
}
