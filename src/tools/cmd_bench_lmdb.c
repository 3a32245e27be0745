/* LMDB: names as keys, a transaction for each change. */
#include "bench_rivals.h"

#define TITLE "LMDB"

#ifndef HF_HAVE_LMDB

void bench_lmdb(struct bench *b)
{
	bench_note(b, TITLE, "not measured: liblmdb-dev was not there when this program was built");
}

#else

#include <dlfcn.h>
#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAP_BYTES (1ull << 30)
#define KEYS	  100000u
#define OPS	  1000u

struct table {
	struct bench_keys keys;		/* first: ours */
	__typeof__(mdb_env_create) *env_create;
	__typeof__(mdb_env_set_mapsize) *set_mapsize;
	__typeof__(mdb_env_open) *env_open;
	__typeof__(mdb_env_close) *env_close;
	__typeof__(mdb_txn_begin) *begin;
	__typeof__(mdb_txn_commit) *commit;
	__typeof__(mdb_txn_reset) *reset;
	__typeof__(mdb_txn_renew) *renew;
	__typeof__(mdb_txn_abort) *abort;
	__typeof__(mdb_dbi_open) *dbi_open;
	__typeof__(mdb_get) *get;
	__typeof__(mdb_put) *put;
	__typeof__(mdb_del) *del;
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *reader;
};

static const struct bench_symbol symbols[] = {
	{"mdb_env_create", offsetof(struct table, env_create)},
	{"mdb_env_set_mapsize", offsetof(struct table, set_mapsize)},
	{"mdb_env_open", offsetof(struct table, env_open)},
	{"mdb_env_close", offsetof(struct table, env_close)},
	{"mdb_txn_begin", offsetof(struct table, begin)},
	{"mdb_txn_commit", offsetof(struct table, commit)},
	{"mdb_txn_reset", offsetof(struct table, reset)},
	{"mdb_txn_renew", offsetof(struct table, renew)},
	{"mdb_txn_abort", offsetof(struct table, abort)},
	{"mdb_dbi_open", offsetof(struct table, dbi_open)},
	{"mdb_get", offsetof(struct table, get)},
	{"mdb_put", offsetof(struct table, put)},
	{"mdb_del", offsetof(struct table, del)},
};

static void need(int rc, const char *what)
{
	if (rc)
		bench_must(rc > 0 ? -rc : -EIO, what);
}

static MDB_val key_of(char name[16], unsigned i)
{
	bench_key(name, i);
	return (MDB_val){.mv_size = strlen(name), .mv_data = name};
}

/* What an empty file's entry is worth: a number. */
static void their_put(struct bench *b, struct table *t, unsigned first, unsigned n, unsigned each)
{
	MDB_txn *txn = NULL;
	MDB_val key, value;
	char name[16];
	uint64_t number;
	unsigned i;

	(void)b;
	for (i = 0; i < n; i++) {
		if (i % each == 0)
			need(t->begin(t->env, NULL, 0, &txn), "mdb_txn_begin");
		number = first + i;
		value = (MDB_val){.mv_size = sizeof(number), .mv_data = &number};
		key = key_of(name, first + i);
		need(t->put(txn, t->dbi, &key, &value, 0), "mdb_put");
		if (i % each == each - 1 || i + 1 == n)
			need(t->commit(txn), "mdb_txn_commit");
	}
}

static void their_insert(struct bench *b, void *ctx, unsigned ops)
{
	struct table *t = ctx;

	their_put(b, t, t->keys.base, ops, 1);
}

static void their_delete(struct bench *b, void *ctx, unsigned ops)
{
	struct table *t = ctx;
	MDB_txn *txn;
	MDB_val key;
	char name[16];
	unsigned i;

	(void)b;
	for (i = 0; i < ops; i++) {
		key = key_of(name, t->keys.base + i);
		need(t->begin(t->env, NULL, 0, &txn), "mdb_txn_begin");
		need(t->del(txn, t->dbi, &key, NULL), "mdb_del");
		need(t->commit(txn), "mdb_txn_commit");
	}
}

static void their_lookup(struct bench *b, void *ctx, unsigned ops)
{
	struct table *t = ctx;
	MDB_val key, value;
	char name[16];

	while (ops--) {
		key = key_of(name, (unsigned)(bench_random(b) % t->keys.count));
		need(t->renew(t->reader), "mdb_txn_renew");
		need(t->get(t->reader, t->dbi, &key, &value), "mdb_get");
		t->reset(t->reader);
	}
}

static void our_lookup(struct bench *b, void *ctx, unsigned ops)
{
	struct bench_keys *k = ctx;
	struct hf_stat st;
	char name[16];

	while (ops--)
		bench_must(hf_inode_lookup(b->vol, k->dir, bench_key(name, (unsigned)(bench_random(b) % k->count)), &st), "look-up");
}

static void both_create(struct bench *b, void *ctx, unsigned ops)
{
	bench_keys_create(b, ctx, ops);
	their_insert(b, ctx, ops);
}

static void both_unlink(struct bench *b, void *ctx, unsigned ops)
{
	bench_keys_unlink(b, ctx, ops);
	their_delete(b, ctx, ops);
}

static void table_rows(struct bench *b, struct table *t)
{
	bench_run(b, &(struct bench_row){.name = "look up among 100,000 names, times faster", .raw_name = "LMDB, mdb_get", .faster = true, .ops = 10 * OPS,
					 .ours = our_lookup, .raw = their_lookup, .ctx = t});
	bench_run(b, &(struct bench_row){.name = "create among 100,000 names, times faster", .raw_name = "LMDB, a transaction", .faster = true, .ops = OPS,
					 .ours = bench_keys_create, .raw = their_insert, .undo = both_unlink, .ctx = t});
	bench_run(b, &(struct bench_row){.name = "unlink among 100,000 names, times faster", .raw_name = "LMDB, a transaction", .faster = true, .ops = OPS,
					 .prepare = both_create, .ours = bench_keys_unlink, .raw = their_delete, .ctx = t});
}

/* On tmpfs, where its msync costs a system call; it writes in place into its map. */
static void table_open(struct bench *b, struct table *t, const char *path)
{
	MDB_txn *txn;

	need(t->env_create(&t->env), "mdb_env_create");
	need(t->set_mapsize(t->env, MAP_BYTES), "mdb_env_set_mapsize");
	need(t->env_open(t->env, path, MDB_NOSUBDIR | MDB_WRITEMAP, 0600), path);
	need(t->begin(t->env, NULL, 0, &txn), "mdb_txn_begin");
	need(t->dbi_open(txn, NULL, 0, &t->dbi), "mdb_dbi_open");
	need(t->commit(txn), "mdb_txn_commit");
	their_put(b, t, 0, t->keys.count, 10000);
	need(t->begin(t->env, NULL, MDB_RDONLY, &t->reader), "mdb_txn_begin");
	t->reset(t->reader);
}

void bench_lmdb(struct bench *b)
{
	struct table t = {.keys = {.count = b->quick ? 1000 : KEYS}};
	char path[96], lock[104];
	void *lib = bench_load("liblmdb.so.0", symbols, sizeof(symbols) / sizeof(symbols[0]), &t);

	if (!lib)
		return bench_note(b, TITLE, "not measured: liblmdb.so.0 is not installed");
	snprintf(path, sizeof(path), "%s/lmdb", b->tmpfs);
	snprintf(lock, sizeof(lock), "%s-lock", path);
	table_open(b, &t, path);
	t.keys.dir = bench_mkdir(b, "/bench.names");
	bench_keys_create(b, &t.keys, t.keys.count);
	t.keys.base = t.keys.count;
	table_rows(b, &t);
	t.keys.base = 0;
	bench_keys_unlink(b, &t.keys, t.keys.count);
	bench_must(hf_rmdir(b->vol, "/bench.names"), "rmdir");
	t.abort(t.reader);
	t.env_close(t.env);
	unlink(path);
	unlink(lock);
	dlclose(lib);
}

#endif
