/* What real pinners have in common: somebody outside of the library who is given addresses of a
 * pinned range, and stores into them (or reads from them) while the file is cut, unlinked and
 * closed and others fill the volume.
 *
 * A program pin_X.c fills in a struct pinner; pinner_main() plays the scene around it, and judges.
 */
#ifndef PINNER_H
#define PINNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define PIN_BYTES                                                                                  \
	(1u << 20) /* what a pipe holds, and more than a page of 2 MiB has where it begins */
#define PIN_PARTS 64u

/* Where the pinned bytes are: as addresses of this process, and on the volume. */
struct pin_target {
	struct iovec iov[PIN_PARTS];
	size_t parts;
	uint64_t media_off[PIN_PARTS]; /* of each part */
	const char *volume;
};

struct pinner {
	const char *name; /* the tag of its pins */
	const char *call; /* what the kernel refuses when attach fails */
	/* Before the volume is mounted, so that it may fork. -errno: it cannot be tried here; *why
	 * says so. */
	int (*prepare)(const char **why);
	int (*attach)(const struct pin_target *t); /* -errno: refused */
	/* Gets pattern(round) into (or out of) the whole range; start() begins it and finish() ends
	 * it, with a part of it after finish() was called. finish(): is what came through what was
	 * sent? */
	void (*start)(unsigned round);
	bool (*finish)(unsigned round);
	void (*detach)(void);
};

int pinner_main(int argc, char **argv, const struct pinner *p);

/* The byte at off in a round: never 'F', which other files are full of. */
static inline unsigned char pin_pattern(unsigned round, size_t off)
{
	return (unsigned char)(0x80 | (round * 37 + off * 31 + (off >> 12)));
}

void pin_fill(const struct pin_target *t, unsigned round);
bool pin_holds(const struct pin_target *t, unsigned round);
unsigned char *pin_bytes(unsigned round); /* PIN_BYTES of the pattern; static, for one thread */

/* Ends the program with a sentence where err is negative. */
void pin_must(int64_t err, const char *what);

#endif
