/* What the workloads share: threads, timed calls, contents that say what they are, sets of files.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include "store.h"
#include "system/rng.h"
#include <stdatomic.h>

#define WL_IO_BYTES (1u << 20) /* of one read or write */

enum wl_op {
	WL_CREATE,
	WL_OPEN,
	WL_CLOSE,
	WL_READ,
	WL_WRITE,
	WL_APPEND,
	WL_FSYNC,
	WL_DELETE,
	WL_STAT,
	WL_RENAME,
	WL_OPS
};

/* Nanoseconds, in classes a sixteenth apart. */
#define WL_CLASSES (60u * 16u)
struct wl_hist {
	uint64_t n, max;
	uint32_t in[WL_CLASSES];
};

struct wl_file {
	char *path;
	_Atomic uint32_t busy; /* a thread has it; the rest is that thread's */
	bool exists;
	uint64_t seed, size;
};

struct wl_set {
	struct wl_file *file;
	uint32_t n;
};

struct wl;
struct wl_thread {
	struct wl *wl;
	unsigned int id;
	struct rng rng;
	uint64_t loops;
	uint8_t *buf,
	    *data; /* WL_IO_BYTES each: for reads; what is written when contents do not matter */
	struct wl_hist op[WL_OPS], all;
	void *own; /* the workload's */
};

/* In the order of their calls: prepare once, loop in each thread, verify once, and again after
 * everything was closed and opened. */
struct workload {
	const char *name, *text;
	void (*prepare)(struct wl *wl);
	void (*loop)(struct wl_thread *t);
	void (*verify)(struct wl_thread *t);
	uint32_t files, width, mean_bytes, filled; /* of the set: filled is percent */
};
extern const struct workload workloads[];

struct wl {
	const struct store *s;
	const struct workload *workload;
	bool verify;
	unsigned int nthreads;
	unsigned int scale; /* percent of the files */
	uint64_t seed;
	struct wl_set set;
	struct wl_thread *thread;
	_Atomic uint64_t log_bytes, seeds;
};

/* Ends the program with a sentence if err is negative, or if not ok. */
void wl_must(int64_t err, const char *what, const char *path);
void wl_want(bool ok, const char *what, const char *path);
uint64_t wl_now(void);

/* ---- timed calls: they must succeed */
struct store_file *wl_open(struct wl_thread *t, const char *path, enum store_open how);
void wl_close(struct wl_thread *t, struct store_file *f);
void wl_fsync(struct wl_thread *t, struct store_file *f);
void wl_delete(struct wl_thread *t, const char *path);
void wl_rename(struct wl_thread *t, const char *from, const char *to);
uint64_t wl_stat(struct wl_thread *t, const char *path);
/* Bytes [off, off+len) of what 'seed' stands for, to the file's byte 'at'. op: WL_WRITE or
 * WL_APPEND. len: at most WL_IO_BYTES */
void wl_put(struct wl_thread *t, struct store_file *f, enum wl_op op, uint64_t seed, uint64_t off,
	    size_t len, uint64_t at);
/* As many bytes as there are, up to len; they are checked if the run verifies, and must be all. */
void wl_get(struct wl_thread *t, struct store_file *f, uint64_t seed, uint64_t off, size_t len,
	    uint64_t at);
/* A file of 'size' bytes and no more. */
void wl_read_whole(struct wl_thread *t, struct store_file *f, uint64_t seed, uint64_t size);
ssize_t wl_read_raw(struct wl_thread *t, struct store_file *f, void *buf, size_t len, uint64_t at);
ssize_t wl_write_raw(struct wl_thread *t, struct store_file *f, enum wl_op op, const void *buf,
		     size_t len, uint64_t at);

/* ---- contents: 8 bytes depend on the seed and their place */
void wl_fill(uint64_t seed, uint64_t off, void *buf, size_t len);
bool wl_is(uint64_t seed, uint64_t off, const void *buf, size_t len);
uint64_t wl_new_seed(struct wl *wl);

/* ---- sets of files */
void wl_set_make(struct wl *wl, struct wl_set *set);
/* A random file that is there, or is not, for this thread alone until wl_give. */
struct wl_file *wl_pick(struct wl_thread *t, bool exists);
void wl_give(struct wl_file *f);
/* The sizes of filebench: a gamma distribution of shape 1.5. */
uint64_t wl_gamma(struct rng *rng, uint32_t mean);
void wl_set_verify(struct wl_thread *t);

/* workload_files.c, workload_engine.c */
void wl_log_append(struct wl_thread *t, struct store_file *log);
void wl_log_verify(struct wl_thread *t, const char *path);
void engine_prepare(struct wl *wl);
void engine_loop(struct wl_thread *t);
void engine_verify(struct wl_thread *t);

#endif
