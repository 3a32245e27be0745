/* A page that somebody holds is never given to another file.
 *
 *	pin_unlink VOLUME [COMMAND]
 *
 * Pins a file, unlinks it, closes it, and fills the volume with another file's data. A device that was handed the pinned
 * addresses still reads and writes its own bytes, and nobody else's. COMMAND is run while the pin is held.
 *
 *	mkfs.holdfast -s 64M vol && pin_unlink vol 'holdfast busy vol'
 */
#include <errno.h>
#include <holdfast.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define HELD_BYTES (8u << 20)
#define PIECE	   (1u << 20)
#define IOV_MAX_N  64u

static int fail(const char *what)
{
	fprintf(stderr, "pin_unlink: %s: %s\n", what, hf_errormsg());
	return 1;
}

static int wrong(const char *what)
{
	fprintf(stderr, "pin_unlink: %s\n", what);
	return 1;
}

/* All bytes of the pin are 'byte'. */
static int holds(const struct iovec *iov, size_t n, int byte)
{
	const unsigned char *p;
	size_t i, k;

	for (i = 0; i < n; i++) {
		p = iov[i].iov_base;
		for (k = 0; k < iov[i].iov_len; k++)
			if (p[k] != byte)
				return 0;
	}
	return 1;
}

/* Writes until the volume is full. Bytes, or a negative error that is not 'full'. */
static int64_t fill(hf_volume *vol, const char *name, int byte)
{
	char *piece = malloc(PIECE);
	int64_t bytes = 0;
	ssize_t n = -ENOMEM;
	hf_file *file;

	if (piece && hf_open(vol, name, HF_O_RDWR | HF_O_CREAT, 0644, &file) == 0) {
		memset(piece, byte, PIECE);
		do {
			n = hf_pwrite(file, piece, PIECE, (uint64_t)bytes);
			bytes += n > 0 ? n : 0;
		} while (n > 0);
		if (n == -ENOSPC)
			printf("full after %" PRId64 " MiB: %s\n", bytes >> 20, hf_errormsg());
		hf_close(&file);
	}
	free(piece);
	return n == -ENOSPC ? bytes : n;
}

static int file_is(hf_volume *vol, const char *name, int byte)
{
	unsigned char buf[65536];
	uint64_t off = 0;
	ssize_t n = -1, i;
	int same = 1;
	hf_file *file;

	if (hf_open(vol, name, HF_O_RDONLY, 0, &file))
		return 0;
	while (same && (n = hf_pread(file, buf, sizeof(buf), off)) > 0) {
		for (i = 0; i < n; i++)
			same = same && buf[i] == byte;
		off += (uint64_t)n;
	}
	hf_close(&file);
	return same && n == 0;
}

static void print_space(hf_volume *vol, const char *when)
{
	struct hf_statfs s;

	if (hf_syncfs(vol) == 0 && hf_statfs(vol, &s) == 0)
		printf("%-32s %6" PRIu64 " blocks free, %6" PRIu64 " used, %6" PRIu64 " busy for pins\n", when, s.blocks_free,
		       s.blocks_used, s.blocks_busy_pinned);
}

/* A file with a name nobody knows any more, and its addresses. */
static int make_held(hf_volume *vol, struct iovec *iov, size_t *n, hf_pin_id *pin)
{
	struct hf_pin_options opts = {.struct_size = sizeof(opts), .flags = HF_PIN_WRITE, .tag = "pin_unlink"};
	char *bytes = malloc(HELD_BYTES);
	hf_file *file;
	int err;

	if (!bytes || hf_open(vol, "/held", HF_O_RDWR | HF_O_CREAT, 0644, &file)) {
		free(bytes);
		return fail("/held");
	}
	memset(bytes, 'H', HELD_BYTES);
	err = hf_pwrite(file, bytes, HELD_BYTES, 0) != HELD_BYTES || hf_pin(file, 0, HELD_BYTES, &opts, iov, n, pin);
	free(bytes);
	if (err)
		fail("pin");
	print_space(vol, "pinned:");
	if (hf_unlink(vol, "/held"))
		err = fail("unlink");
	hf_close(&file);
	return err;
}

static int scene(hf_volume *vol, const char *command)
{
	struct iovec iov[IOV_MAX_N];
	size_t n = IOV_MAX_N;
	hf_pin_id pin;
	int64_t more;

	if (make_held(vol, iov, &n, &pin))
		return 1;
	print_space(vol, "unlinked and closed:");
	if (fill(vol, "/other", 'o') < 0)
		return fail("/other");
	print_space(vol, "filled with another file:");
	if (command && system(command) != 0)
		return wrong("the command failed");
	if (!holds(iov, n, 'H'))
		return wrong("the pinned bytes are not those of the file that was pinned");
	printf("the pin still reads its own bytes\n");
	memset(iov[0].iov_base, 'D', iov[0].iov_len);	/* as a device that is not done yet would */
	if (!file_is(vol, "/other", 'o'))
		return wrong("a write through the pin reached another file");
	printf("a write through the pin reaches no other file\n");
	if (hf_unpin(vol, pin))
		return fail("unpin");
	print_space(vol, "unpinned:");
	more = fill(vol, "/more", 'm');
	if (more < (int64_t)HELD_BYTES / 2)
		return wrong("what was unpinned cannot be used");
	return 0;
}

int main(int argc, char **argv)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts), .flags = HF_MOUNT_NO_MSYNC};
	hf_volume *vol;
	int status;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: pin_unlink VOLUME [COMMAND]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (hf_mount(&vol, argv[1], &opts))
		return fail(argv[1]);
	status = scene(vol, argc > 2 ? argv[2] : NULL);
	if (hf_unmount(&vol))
		return fail("unmount");
	return status;
}
