/* What a storage engine asks of its files; each thread is one, in a directory of its own. A turn
 * reads four pages, appends a record to the log and makes it durable, and changes two pages in
 * memory. Each 64 turns a checkpoint writes the changed pages, makes them durable, and begins a new
 * log; each 1024 a compaction reads two of eight sorted tables, writes two new ones, and a manifest
 * that names them and replaces the old one by a rename; then the old tables go. */
#include "workload.h"
#include <stdio.h>
#include <stdlib.h>

#define PAGES		4096u
#define PAGE		4096u
#define TABLES		8u
#define TABLE_BYTES	(1u << 20)
#define PIECE		(64u << 10)
#define CHECKPOINT_EACH 64u
#define COMPACT_EACH	1024u

struct engine {
	char dir[16];
	struct store_file *pages, *log, *dir_file;
	uint64_t page_seed[PAGES];
	uint64_t dirty[PAGES / 64];
	uint64_t log_number, log_seed, log_bytes, turns;
	uint64_t table_number[TABLES], table_seed[TABLES], next_table;
	unsigned int oldest;
};

static const char *path_of(const struct engine *e, const char *name, uint64_t number, char path[64])
{
	if (number)
		snprintf(path, 64, "%s/%s%06llu", e->dir, name, (unsigned long long)number);
	else
		snprintf(path, 64, "%s/%s", e->dir, name);
	return path;
}

static void log_begin(struct wl_thread *t, struct engine *e)
{
	char path[64];

	e->log_seed = wl_new_seed(t->wl);
	e->log_bytes = 0;
	e->log = wl_open(t, path_of(e, "log", ++e->log_number, path), STORE_CREATE);
	wl_fsync(t, e->log);
	wl_fsync(t, e->dir_file);
}

static void table_write(struct wl_thread *t, struct engine *e, unsigned int slot)
{
	struct store_file *f;
	char path[64];

	e->table_number[slot] = ++e->next_table;
	e->table_seed[slot] = wl_new_seed(t->wl);
	f = wl_open(t, path_of(e, "table", e->table_number[slot], path), STORE_CREATE);
	for (uint64_t at = 0; at < TABLE_BYTES; at += PIECE)
		wl_put(t, f, WL_APPEND, e->table_seed[slot], at, PIECE, at);
	wl_fsync(t, f);
	wl_close(t, f);
}

static void table_read(struct wl_thread *t, struct engine *e, unsigned int slot)
{
	struct store_file *f;
	char path[64];

	f = wl_open(t, path_of(e, "table", e->table_number[slot], path), STORE_READ);
	for (uint64_t at = 0; at < TABLE_BYTES; at += PIECE)
		wl_get(t, f, e->table_seed[slot], at, PIECE, at);
	wl_close(t, f);
}

static void manifest_write(struct wl_thread *t, struct engine *e)
{
	char from[64], to[64];
	struct store_file *f = wl_open(t, path_of(e, "manifest.new", 0, from), STORE_CREATE);

	wl_want(wl_write_raw(t, f, WL_WRITE, e->table_number, sizeof(e->table_number), 0) ==
		    (ssize_t)sizeof(e->table_number),
		"was written in part", from);
	wl_fsync(t, f);
	wl_close(t, f);
	wl_rename(t, from, path_of(e, "manifest", 0, to));
	wl_fsync(t, e->dir_file);
}

static void engine_make(struct wl_thread *t)
{
	struct engine *e = calloc(1, sizeof(*e));
	char path[64];

	wl_want(e, "out of memory", "");
	t->own = e;
	snprintf(e->dir, sizeof(e->dir), "db%u", t->id);
	wl_must(t->wl->s->mkdir(e->dir), "mkdir", e->dir);
	wl_must(t->wl->s->open_dir(e->dir, &e->dir_file), "open", e->dir);
	e->pages = wl_open(t, path_of(e, "pages", 0, path), STORE_CREATE);
	for (unsigned int i = 0; i < PAGES; i++) {
		e->page_seed[i] = wl_new_seed(t->wl);
		wl_put(t, e->pages, WL_APPEND, e->page_seed[i], 0, PAGE, (uint64_t)i * PAGE);
	}
	wl_fsync(t, e->pages);
	for (unsigned int i = 0; i < TABLES; i++)
		table_write(t, e, i);
	manifest_write(t, e);
	log_begin(t, e);
}

void engine_prepare(struct wl *wl)
{
	for (unsigned int i = 0; i < wl->nthreads; i++)
		engine_make(&wl->thread[i]);
}

static void page_read(struct wl_thread *t, struct engine *e)
{
	uint64_t i = rng_below(&t->rng, PAGES);

	wl_get(t, e->pages, e->page_seed[i], 0, PAGE, i * PAGE);
}

static void checkpoint(struct wl_thread *t, struct engine *e)
{
	char path[64];

	for (unsigned int i = 0; i < PAGES; i++) {
		if (!(e->dirty[i / 64] >> i % 64 & 1))
			continue;
		e->page_seed[i] = wl_new_seed(t->wl);
		wl_put(t, e->pages, WL_WRITE, e->page_seed[i], 0, PAGE, (uint64_t)i * PAGE);
	}
	memset(e->dirty, 0, sizeof(e->dirty));
	wl_fsync(t, e->pages);
	path_of(e, "log", e->log_number, path);
	wl_close(t, e->log);
	log_begin(t, e);
	wl_delete(t, path);
}

static void compact(struct wl_thread *t, struct engine *e)
{
	char old[2][64];

	for (unsigned int i = 0; i < 2; i++) {
		unsigned int slot = (e->oldest + i) % TABLES;

		table_read(t, e, slot);
		path_of(e, "table", e->table_number[slot], old[i]);
	}
	for (unsigned int i = 0; i < 2; i++)
		table_write(t, e, (e->oldest + i) % TABLES);
	e->oldest = (e->oldest + 2) % TABLES;
	manifest_write(t, e);
	wl_delete(t, old[0]);
	wl_delete(t, old[1]);
}

void engine_loop(struct wl_thread *t)
{
	struct engine *e = t->own;
	size_t len = 64 + rng_below(&t->rng, 448);

	for (int i = 0; i < 4; i++)
		page_read(t, e);
	wl_put(t, e->log, WL_APPEND, e->log_seed, e->log_bytes, len, e->log_bytes);
	wl_fsync(t, e->log);
	e->log_bytes += len;
	for (int i = 0; i < 2; i++) {
		uint64_t page = rng_below(&t->rng, PAGES);

		e->dirty[page / 64] |= 1ull << page % 64;
	}
	e->turns++;
	if (e->turns % CHECKPOINT_EACH == 0)
		checkpoint(t, e);
	if (e->turns % COMPACT_EACH == 0)
		compact(t, e);
}

static void engine_close(struct wl_thread *t, struct engine *e)
{
	if (!e->log)
		return;
	wl_close(t, e->log);
	wl_close(t, e->pages);
	wl_must(t->wl->s->close(e->dir_file), "close", e->dir);
	e->log = e->pages = e->dir_file = NULL;
}

static void engine_check(struct wl_thread *t, struct engine *e)
{
	uint64_t numbers[TABLES], size;
	struct store_file *f;
	char path[64];

	f = wl_open(t, path_of(e, "manifest", 0, path), STORE_READ);
	wl_want(wl_read_raw(t, f, numbers, sizeof(numbers), 0) == (ssize_t)sizeof(numbers) &&
		    !memcmp(numbers, e->table_number, sizeof(numbers)),
		"names other tables than there are", path);
	wl_close(t, f);
	for (unsigned int i = 0; i < TABLES; i++)
		table_read(t, e, i);
	wl_want(t->wl->s->size(path_of(e, "manifest.new", 0, path), &size) < 0, "is still there",
		path);
	f = wl_open(t, path_of(e, "pages", 0, path), STORE_READ);
	for (uint64_t i = 0; i < PAGES; i++)
		wl_get(t, f, e->page_seed[i], 0, PAGE, i * PAGE);
	wl_close(t, f);
	f = wl_open(t, path_of(e, "log", e->log_number, path), STORE_READ);
	wl_read_whole(t, f, e->log_seed, e->log_bytes);
	wl_close(t, f);
}

/* One thread looks at all of them. */
void engine_verify(struct wl_thread *t)
{
	for (unsigned int i = 0; i < t->wl->nthreads; i++) {
		struct engine *e = t->wl->thread[i].own;

		engine_close(t, e);
		engine_check(t, e);
	}
}
