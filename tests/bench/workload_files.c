/* The operation mixes of filebench's personalities varmail, fileserver, webserver and webproxy:
 * sets of files, widths of directories, mean sizes and the order of the calls are theirs
 * (version 1.5), the code is not. One loop is one turn of a thread. */
#include "workload.h"
#include <stdio.h>
#include <stdlib.h>

#define APPEND_BYTES 16384u
#define LOG_PATH     "weblog"
#define LOG_BYTES    (64u << 20) /* then it begins anew: filebench's grows without end */

static void append_some(struct wl_thread *t, struct store_file *h, struct wl_file *f)
{
	size_t len = 1 + rng_below(&t->rng, APPEND_BYTES);

	wl_put(t, h, WL_APPEND, f->seed, f->size, len, f->size);
	f->size += len;
}

static void delete_one(struct wl_thread *t)
{
	struct wl_file *f = wl_pick(t, true);

	wl_delete(t, f->path);
	f->exists = false;
	wl_give(f);
}

static struct store_file *create_one(struct wl_thread *t, struct wl_file **out)
{
	struct wl_file *f = wl_pick(t, false);

	f->seed = wl_new_seed(t->wl);
	f->size = 0;
	f->exists = true;
	*out = f;
	return wl_open(t, f->path, STORE_CREATE);
}

static void read_one(struct wl_thread *t)
{
	struct wl_file *f = wl_pick(t, true);
	struct store_file *h = wl_open(t, f->path, STORE_READ);

	wl_read_whole(t, h, f->seed, f->size);
	wl_close(t, h);
	wl_give(f);
}

/* delete; create, append, fsync; open, read, append, fsync; open, read */
static void varmail(struct wl_thread *t)
{
	struct store_file *h;
	struct wl_file *f;

	delete_one(t);
	h = create_one(t, &f);
	append_some(t, h, f);
	wl_fsync(t, h);
	wl_close(t, h);
	wl_give(f);
	f = wl_pick(t, true);
	h = wl_open(t, f->path, STORE_WRITE);
	wl_read_whole(t, h, f->seed, f->size);
	append_some(t, h, f);
	wl_fsync(t, h);
	wl_close(t, h);
	wl_give(f);
	read_one(t);
}

static void write_whole(struct wl_thread *t, struct store_file *h, struct wl_file *f)
{
	f->size = wl_gamma(&t->rng, t->wl->workload->mean_bytes);
	for (uint64_t at = 0; at < f->size; at += WL_IO_BYTES)
		wl_put(t, h, WL_WRITE, f->seed, at,
		       f->size - at < WL_IO_BYTES ? f->size - at : WL_IO_BYTES, at);
}

/* create, write; open, append; open, read; delete; stat */
static void fileserver(struct wl_thread *t)
{
	struct store_file *h;
	struct wl_file *f;

	h = create_one(t, &f);
	write_whole(t, h, f);
	wl_close(t, h);
	wl_give(f);
	f = wl_pick(t, true);
	h = wl_open(t, f->path, STORE_WRITE);
	append_some(t, h, f);
	wl_close(t, h);
	wl_give(f);
	read_one(t);
	delete_one(t);
	f = wl_pick(t, true);
	wl_want(wl_stat(t, f->path) == f->size, "has another size than was written", f->path);
	wl_give(f);
}

/* delete; create, append; open, read five times */
static void webproxy(struct wl_thread *t)
{
	struct store_file *h;
	struct wl_file *f;

	delete_one(t);
	h = create_one(t, &f);
	append_some(t, h, f);
	wl_close(t, h);
	wl_give(f);
	for (int i = 0; i < 5; i++)
		read_one(t);
}

/* ---- the web server's log: all threads append records to one file */

struct record {
	uint64_t mark, seed;
	uint32_t len, thread;
	uint64_t number; /* of this thread's records */
};
#define RECORD_MARK 0x676f6c2d62657768ull

void wl_log_append(struct wl_thread *t, struct store_file *log)
{
	struct record rec = {.mark = RECORD_MARK, .thread = t->id, .number = t->loops};
	size_t len = 1 + rng_below(&t->rng, APPEND_BYTES);
	uint64_t before;

	rec.len = (uint32_t)len;
	rec.seed = wl_new_seed(t->wl);
	if (t->wl->verify)
		wl_fill(rec.seed, 0, t->buf + sizeof(rec), len);
	memcpy(t->buf, &rec, sizeof(rec));
	len += sizeof(rec);
	wl_want(wl_write_raw(t, log, WL_APPEND, t->buf, len, 0) == (ssize_t)len,
		"was written in part", LOG_PATH);
	before = atomic_fetch_add(&t->wl->log_bytes, len);
	if (before / LOG_BYTES != (before + len) / LOG_BYTES)
		wl_must(t->wl->s->truncate(log, 0), "truncate", LOG_PATH);
}

/* Whole records, one after the other; those of a thread in their order, none missing. */
void wl_log_verify(struct wl_thread *t, const char *path)
{
	uint64_t *next = calloc(t->wl->nthreads, sizeof(*next));
	struct store_file *h = wl_open(t, path, STORE_READ);
	struct record rec;
	uint64_t at = 0;

	wl_want(next, "out of memory", "");
	while (wl_read_raw(t, h, &rec, sizeof(rec), at) == (ssize_t)sizeof(rec)) {
		wl_want(rec.mark == RECORD_MARK && rec.thread < t->wl->nthreads &&
			    rec.len <= APPEND_BYTES,
			"has a record that nobody wrote", path);
		wl_want(!next[rec.thread] || next[rec.thread] == rec.number + 1, "lost a record",
			path);
		next[rec.thread] = rec.number + 2;
		wl_get(t, h, rec.seed, 0, rec.len, at + sizeof(rec));
		at += sizeof(rec) + rec.len;
	}
	wl_want(wl_stat(t, path) == at, "ends with a part of a record", path);
	for (unsigned int i = 0; i < t->wl->nthreads; i++)
		wl_want(!next[i] || next[i] == t->wl->thread[i].loops + 1, "lost the last record",
			path);
	wl_close(t, h);
	free(next);
}

/* open, read ten times; append to the log */
static void webserver(struct wl_thread *t)
{
	if (!t->own)
		t->own = wl_open(t, LOG_PATH, STORE_WRITE_APPEND);
	for (int i = 0; i < 10; i++)
		read_one(t);
	wl_log_append(t, t->own);
}

static void set_prepare(struct wl *wl)
{
	wl_set_make(wl, &wl->set);
}

static void webserver_prepare(struct wl *wl)
{
	set_prepare(wl);
	wl_close(&wl->thread[0], wl_open(&wl->thread[0], LOG_PATH, STORE_CREATE));
}

static void webserver_verify(struct wl_thread *t)
{
	for (unsigned int i = 0; i < t->wl->nthreads; i++) {
		if (t->wl->thread[i].own)
			wl_close(t, t->wl->thread[i].own);
		t->wl->thread[i].own = NULL;
	}
	wl_set_verify(t);
	if (t->wl->verify)
		wl_log_verify(t, LOG_PATH);
}

const struct workload workloads[] = {
    {"varmail", "mail: small files appended to with fsync, read, deleted; one directory",
     set_prepare, varmail, wl_set_verify, 1000, 1000000, 16384, 80},
    {"fileserver", "files of 128 KiB made, appended to, read, deleted, in directories of 20",
     set_prepare, fileserver, wl_set_verify, 10000, 20, 131072, 80},
    {"webserver", "ten files of 16 KiB read, and a record to a log", webserver_prepare, webserver,
     webserver_verify, 1000, 20, 16384, 100},
    {"webproxy", "a file deleted, one made, five read, in one directory", set_prepare, webproxy,
     wl_set_verify, 10000, 1000000, 16384, 80},
    {"engine", "a storage engine: log with fsync, pages, checkpoints, compaction, a manifest",
     engine_prepare, engine_loop, engine_verify, 0, 0, 0, 0},
    {0},
};
