/* What the examples share: ending on errors, telling what is so, filling a volume. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <holdfast.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKIPPED 77 /* exit status: what the example needs is not to be had here */

static inline void must(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, strerror((int)-err), hf_errormsg());
	exit(1);
}

static inline void expect(bool ok, const char *what)
{
	printf("  %-66s %s\n", what, ok ? "yes" : "NO");
	fflush(stdout);
	if (!ok)
		exit(1);
}

/* Bytes that are in no file any more and wait for their last pin. */
static inline uint64_t busy_bytes(hf_volume *vol)
{
	struct hf_statfs st;

	must(hf_statfs(vol, &st), "hf_statfs");
	return st.blocks_busy_pinned * st.block_bytes;
}

/* Appends 'F's until the volume is full; how many bytes it could take. */
static inline uint64_t fill(hf_file *file)
{
	static char chunk[65536];
	uint64_t sum = 0;
	ssize_t n;

	memset(chunk, 'F', sizeof(chunk));
	do {
		n = hf_append(file, chunk, sizeof(chunk), NULL);
		sum += n > 0 ? (uint64_t)n : 0;
	} while (n > 0);
	if (n != -ENOSPC)
		must(n, "hf_append");
	return sum;
}

/* Does the file hold the 'F's only? */
static inline bool untouched(hf_file *file)
{
	static char chunk[65536];
	uint64_t off = 0;
	ssize_t n;

	do {
		n = hf_pread(file, chunk, sizeof(chunk), off);
		must(n, "hf_pread");
		for (ssize_t i = 0; i < n; i++)
			if (chunk[i] != 'F')
				return false;
		off += (uint64_t)n;
	} while (n > 0);
	return true;
}

#endif
