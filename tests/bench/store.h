/* One set of calls over two kinds of storage, for the benchmarks: a holdfast volume, and a
 * directory of any file system of the kernel. Results are counts, 0 or negative errno. Paths are
 * relative: "d/name". */
#ifndef BENCH_STORE_H
#define BENCH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct store_file; /* an open file; of a directory also an open directory, for fsync */

enum store_open {
	STORE_READ,
	STORE_WRITE,	    /* and read */
	STORE_CREATE,	    /* must not be there */
	STORE_WRITE_APPEND, /* writes go to the end */
};

struct store {
	const char *name;
	bool durable; /* calls are durable on return: fsync has times to write and no more */
	int (*begin)(const char *place);
	int (*end)(void);
	int (*open)(const char *path, enum store_open how, struct store_file **out);
	int (*open_dir)(const char *path, struct store_file **out);
	int (*close)(struct store_file *f);
	ssize_t (*pread)(struct store_file *f, void *buf, size_t len, uint64_t off);
	ssize_t (*pwrite)(struct store_file *f, const void *buf, size_t len, uint64_t off);
	int (*truncate)(struct store_file *f, uint64_t size);
	int (*fsync)(struct store_file *f);
	int (*size)(const char *path, uint64_t *size); /* stat */
	int (*unlink)(const char *path);
	int (*rename)(const char *from, const char *to);
	int (*link)(const char *from, const char *to);
	int (*mkdir)(const char *path);
	int (*rmdir)(const char *path);
	int (*setxattr)(struct store_file *f, const char *name, const void *value, size_t len);
	int (*place_all)(
	    void); /* nothing of what has been done is left for later: journals are empty */
};

extern const struct store store_holdfast, store_posix;

/* "hf:VOLUME" or "dir:DIRECTORY"; *place is what is behind the colon. NULL: neither. */
const struct store *store_by_name(const char *text, const char **place);

#endif
