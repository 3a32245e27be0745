/* vmsplice: a pipe holds the pages themselves, until somebody reads it. */
#include "pinner.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct pin_target *target;
static int fd[2] = {-1, -1};

static int prepare(const char **why)
{
	*why = "a pipe of 1 MiB";
	if (pipe(fd))
		return -errno;
	return fcntl(fd[1], F_SETPIPE_SZ, PIN_BYTES) < 0 ? -errno : 0;
}

static int splice_in(void)
{
	ssize_t n;

	for (size_t i = 0; i < target->parts; i++) {
		n = vmsplice(fd[1], &target->iov[i], 1, SPLICE_F_NONBLOCK);
		if (n < 0)
			return -errno;
		if ((size_t)n != target->iov[i].iov_len)
			return -EAGAIN;
	}
	return 0;
}

/* PIN_BYTES from the pipe, as far as they are there. */
static bool drain(unsigned round)
{
	unsigned char *back = malloc(PIN_BYTES);
	size_t got = 0;
	ssize_t n;
	bool same;

	pin_must(back ? 0 : -ENOMEM, "malloc");
	do {
		n = read(fd[0], back + got, PIN_BYTES - got);
		got += n > 0 ? (size_t)n : 0;
	} while (n > 0 && got < PIN_BYTES);
	same = got == PIN_BYTES && memcmp(back, pin_bytes(round), PIN_BYTES) == 0;
	free(back);
	return same;
}

static int attach(const struct pin_target *t)
{
	int err;

	target = t;
	pin_fill(t, 0);
	err = splice_in();
	if (!err && !drain(0))
		err = -EIO;
	return err;
}

static void start(unsigned round)
{
	pin_fill(target, round);
	pin_must(splice_in(), "vmsplice");
}

static void detach(void)
{
	close(fd[0]);
	close(fd[1]);
}

int main(int argc, char **argv)
{
	static const struct pinner p = {.name = "vmsplice",
					.call = "vmsplice",
					.prepare = prepare,
					.attach = attach,
					.start = start,
					.finish = drain,
					.detach = detach};

	return pinner_main(argc, argv, &p);
}
