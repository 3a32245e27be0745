/* Entries of a directory against a model in memory: insert, remove, replace, look up, iterate. */
#include "dir_vol.h"

/* One change in a transaction of its own, with both locks. */
enum op { OP_INSERT, OP_REMOVE, OP_REPLACE };

static int apply(struct inode_edit *de, enum op op, const char *name, unsigned len, uint64_t ino)
{
	switch (op) {
	case OP_INSERT:
		return dir_insert(de, name, len, INUM(ino), DT_REG);
	case OP_REMOVE:
		return dir_remove(de, name, len);
	default:
		return dir_replace(de, name, len, INUM(ino), DT_REG);
	}
}

struct step {
	enum op op;
	const char *name;
	unsigned len;
	uint64_t ino;
};

static int change(struct inode *dir, const struct step *s, unsigned n)
{
	struct inode_edit de;
	struct txn *t;
	int err = 0;

	rwl_wrlock(&dir->content);
	rwl_wrlock(&dir->layout);
	t = txn_begin(dir->fs->journal);
	inode_edit_begin(&de, dir, t);
	for (unsigned i = 0; i < n && !err; i++)
		err = apply(&de, s[i].op, s[i].name, s[i].len, s[i].ino);
	inode_edit_end(&de);
	if (err)
		txn_abort(t);
	else
		err = txn_commit(t, NULL);
	rwl_wrunlock(&dir->layout);
	rwl_wrunlock(&dir->content);
	return err;
}

static int change1(struct inode *dir, enum op op, const char *name, unsigned len, uint64_t ino)
{
	struct step s = {op, name, len, ino};

	return change(dir, &s, 1);
}

static int find(struct inode *dir, const char *name, unsigned len, uint64_t *ino)
{
	struct dir_entry e;
	int err;

	rwl_rdlock(&dir->content);
	err = dir_lookup(dir, name, len, &e);
	rwl_rdunlock(&dir->content);
	*ino = err ? 0 : e.ino.v;
	return err;
}

/* ---- the model: names that are made from a number */

struct model {
	unsigned n;
	uint64_t *ino;		/* 0: not there */
	uint8_t *len;
};

static void model_new(struct model *m, unsigned n, struct rng *r, unsigned max_len)
{
	m->n = n;
	m->ino = calloc(n, sizeof(m->ino[0]));
	m->len = calloc(n, 1);
	for (unsigned i = 0; i < n; i++)
		m->len[i] = (uint8_t)(8 + rng_below(r, max_len - 7));
}
static void model_free(struct model *m)
{
	free(m->ino);
	free(m->len);
}
/* Any byte but '/' and NUL; the number is in it, to base 254, so all differ. */
static unsigned model_name(const struct model *m, unsigned i, char *name)
{
	struct rng r = {i * 77ull + 5};
	uint64_t x = i;

	for (unsigned k = 0; k < m->len[i]; k++) {
		unsigned b = k < 4 ? (unsigned)(x % 254) + 1 : (unsigned)rng_below(&r, 254) + 1;

		x /= k < 4 ? 254 : 1;
		name[k] = (char)(b == '/' ? 255 : b);
	}
	name[m->len[i]] = '\0';
	return m->len[i];
}
static unsigned model_count(const struct model *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n; i++)
		n += m->ino[i] != 0;
	return n;
}

static unsigned wrong_lookups(struct inode *dir, const struct model *m)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < m->n; i++) {
		char name[256];
		unsigned len = model_name(m, i, name);
		uint64_t ino;
		int err = find(dir, name, len, &ino);

		wrong += m->ino[i] ? err || ino != m->ino[i] : err != -ENOENT;
	}
	return wrong;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The inode numbers of the model, each once: iterating has to give the same set. */
static unsigned wrong_iteration(struct inode *dir, const struct model *m, unsigned batch)
{
	uint64_t *want = calloc(m->n + 1, 8), *got = calloc(m->n + 1, 8), from = 0;
	unsigned nwant = 0, ngot = 0, n, wrong = 0;
	struct dir_entry *e = calloc(batch, sizeof(*e));

	for (unsigned i = 0; i < m->n; i++)
		if (m->ino[i])
			want[nwant++] = m->ino[i];
	do {
		int err;

		rwl_rdlock(&dir->content);
		err = dir_read(dir, from, e, batch, &n);
		rwl_rdunlock(&dir->content);
		if (err) {
			wrong++;
			break;
		}
		for (unsigned i = 0; i < n && ngot < m->n; i++) {
			wrong += e[i].key < from;
			from = e[i].key + 1;
			got[ngot++] = e[i].ino.v;
		}
	} while (n && ngot <= m->n);
	qsort(want, nwant, 8, compare_u64);
	qsort(got, ngot, 8, compare_u64);
	wrong += nwant != ngot || memcmp(want, got, nwant * 8) != 0;
	free(want);
	free(got);
	free(e);
	return wrong;
}

/* ---- */

static void test_basics(void)
{
	struct dvol d;
	struct inode *dir;
	struct dir_entry e;
	uint64_t ino;
	unsigned n;

	dvol_open(&d, 16 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	DV_EXPECT(find(dir, "a", 1, &ino), -ENOENT);
	DV_EXPECT(dir_read(dir, 0, &e, 1, &n), 0);
	CU_ASSERT_EQUAL(n, 0);
	DV_EXPECT(dir_next(dir, 0, &e), -ENOENT);
	DV_EXPECT(change1(dir, OP_REMOVE, "a", 1, 0), -ENOENT);
	DV_EXPECT(change1(dir, OP_REPLACE, "a", 1, 20), -ENOENT);
	DV_EXPECT(change1(dir, OP_INSERT, "a", 1, 1000), 0);
	DV_EXPECT(change1(dir, OP_INSERT, "a", 1, 1001), -EEXIST);
	DV_EXPECT(find(dir, "a", 1, &ino), 0);
	CU_ASSERT_EQUAL(ino, 1000);
	CU_ASSERT_EQUAL(dv_size(dir), 1);
	DV_EXPECT(dir_next(dir, 0, &e), 0);
	CU_ASSERT_STRING_EQUAL(e.name, "a");
	CU_ASSERT_EQUAL(e.len, 1);
	CU_ASSERT_EQUAL(e.type, DT_REG);
	CU_ASSERT_EQUAL(e.ino.v, 1000);
	DV_EXPECT(dir_next(dir, e.key, &e), 0);
	DV_EXPECT(dir_next(dir, e.key + 1, &e), -ENOENT);
	DV_EXPECT(change1(dir, OP_REPLACE, "a", 1, 0xffffffffffffull), 0);
	DV_EXPECT(find(dir, "a", 1, &ino), 0);
	CU_ASSERT_EQUAL(ino, 0xffffffffffffull);
	DV_EXPECT(change1(dir, OP_REMOVE, "a", 1, 0), 0);
	DV_EXPECT(find(dir, "a", 1, &ino), -ENOENT);
	CU_ASSERT_EQUAL(dv_size(dir), 0);
	inode_put(dir);
	dvol_close(&d);
}

static void test_lengths_and_bytes(void)
{
	struct dvol d;
	struct inode *dir;
	unsigned bad = 0;

	dvol_open(&d, 16 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned len = 1; len <= 255; len++) {
			char name[256];

			memset(name, (int)len == '/' ? 1 : (int)len, len);
			if (round == 0)
				bad += change1(dir, OP_INSERT, name, len, 1000 + len) != 0;
			else
				bad += change1(dir, OP_REMOVE, name, len, 0) != 0;
			for (unsigned k = 1; k <= 255; k++) {
				uint64_t ino;
				bool there = round == 0 ? k <= len : k > len;

				memset(name, (int)k == '/' ? 1 : (int)k, k);
				bad += find(dir, name, k, &ino) != (there ? 0 : -ENOENT) || ino != (there ? 1000 + k : 0);
			}
		}
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(dv_size(dir), 0);
	inode_put(dir);
	dvol_close(&d);
}

static void test_many(void)
{
	unsigned n = getenv("HF_TEST_SHORT") ? 5000 : 100000, bad = 0;
	struct rng r = {1};
	struct model m;
	struct dvol d;
	struct inode *dir;
	char name[256];

	model_new(&m, n, &r, 60);
	dvol_open(&d, 256 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	for (unsigned i = 0; i < n; i++) {
		m.ino[i] = FMT_INO_FIRST + i;
		bad += change1(dir, OP_INSERT, name, model_name(&m, i, name), m.ino[i]) != 0;
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(dv_size(dir), n);
	CU_ASSERT_EQUAL(wrong_lookups(dir, &m), 0);
	CU_ASSERT_EQUAL(wrong_iteration(dir, &m, 100), 0);
	printf("(depth %u, %.1f names per bucket) ", inode_media(dir)->dir_depth,
	       (double)n / (double)le64_get(inode_media(dir)->blocks));
	for (unsigned i = 0; i < 2 * n; i++) {
		unsigned k = (unsigned)rng_below(&r, n);
		enum op op = m.ino[k] == 0 ? OP_INSERT : rng_below(&r, 3) ? OP_REMOVE : OP_REPLACE;
		uint64_t ino = op == OP_REMOVE ? 0 : FMT_INO_FIRST + n + i;

		bad += change1(dir, op, name, model_name(&m, k, name), ino) != 0;
		m.ino[k] = ino;
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(dv_size(dir), model_count(&m));
	CU_ASSERT_EQUAL(wrong_lookups(dir, &m), 0);
	CU_ASSERT_EQUAL(wrong_iteration(dir, &m, 7), 0);
	inode_put(dir);
	dvol_remount(&d);
	ivol_must(name_lookup(d.root, "d", &dir), "lookup");
	CU_ASSERT_EQUAL(wrong_lookups(dir, &m), 0);
	CU_ASSERT_EQUAL(wrong_iteration(dir, &m, 1000), 0);
	CU_ASSERT_PTR_NULL(ivol_check(d.fs));
	inode_put(dir);
	dvol_close(&d);
	model_free(&m);
}

/* All names have one hash: a bucket's worth of them fits and no more; taking some away makes room for others. */
static void test_one_hash(void)
{
	struct rng r = {2};
	struct model m;
	struct dvol d;
	struct inode *dir;
	unsigned bad = 0;
	char name[256];

	bucket_hash_mask = 0;
	model_new(&m, 100, &r, 8);
	dvol_open(&d, 16 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	for (unsigned i = 0; i < 62; i++) {
		m.ino[i] = 100 + i;
		bad += change1(dir, OP_INSERT, name, model_name(&m, i, name), m.ino[i]) != 0;
	}
	CU_ASSERT_EQUAL(bad, 0);
	DV_EXPECT(change1(dir, OP_INSERT, name, model_name(&m, 62, name), 9999), -ENOSPC);
	for (unsigned i = 0; i < 5000; i++) {
		unsigned k = (unsigned)rng_below(&r, 100);
		enum op op = m.ino[k] ? OP_REMOVE : OP_INSERT;
		bool full = op == OP_INSERT && model_count(&m) == 62;

		bad += change1(dir, op, name, model_name(&m, k, name), 200 + i) != (full ? -ENOSPC : 0);
		if (!full)
			m.ino[k] = op == OP_INSERT ? 200 + i : 0;
		bad += wrong_lookups(dir, &m) + wrong_iteration(dir, &m, 1 + i % 70);
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_PTR_NULL(ivol_check(d.fs));
	inode_put(dir);
	dvol_close(&d);
	model_free(&m);
	bucket_hash_mask = ~0ull;
}

/* Few different hashes, many levels of splits at once, long names: against the model, with aborted transactions between. */
static void test_weak_hash(void)
{
	static const uint64_t masks[] = {
		0x0000000000000f00ull << 8, 0xf000000000000000ull, 0x00000f8000000000ull, 0x8000010000000100ull,
	};
	unsigned bad = 0, full = 0;
	char name[256];

	for (unsigned x = 0; x < HF_COUNT(masks); x++) {
		struct rng r = {x};
		struct model m;
		struct dvol d;
		struct inode *dir;

		bucket_hash_mask = masks[x];
		model_new(&m, 300, &r, x % 2 ? 255 : 40);
		dvol_open(&d, 16 * MIB);
		dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
		for (unsigned i = 0; i < 4000; i++) {
			unsigned k = (unsigned)rng_below(&r, m.n);
			enum op op = m.ino[k] ? OP_REMOVE : OP_INSERT;
			int err = change1(dir, op, name, model_name(&m, k, name), 200 + i);

			full += err == -ENOSPC;
			bad += err != 0 && !(err == -ENOSPC && op == OP_INSERT);
			if (!err)
				m.ino[k] = op == OP_INSERT ? 200 + i : 0;
			if (i % 50 == 0)
				bad += wrong_lookups(dir, &m) + wrong_iteration(dir, &m, 1 + i % 70);
		}
		bad += wrong_lookups(dir, &m) + wrong_iteration(dir, &m, 3);
		CU_ASSERT_PTR_NULL(ivol_check(d.fs));
		inode_put(dir);
		dvol_close(&d);
		model_free(&m);
	}
	CU_ASSERT_EQUAL(bad, 0);
	printf("(%u times full) ", full);
	bucket_hash_mask = ~0ull;
}

/* I-DIR-3: what is there all the time is seen once; nothing is seen twice; nothing that was never there is seen. */
static void test_stable_cookies(void)
{
	unsigned rounds = getenv("HF_TEST_SHORT") ? 20 : 200, bad = 0;

	for (unsigned round = 0; round < rounds; round++) {
		struct rng r = {round};
		unsigned n = 1 + (unsigned)rng_below(&r, 1500), got, batch = 1 + (unsigned)rng_below(&r, 100);
		uint8_t *seen = calloc(n, 1), *always = calloc(n, 1), *ever = calloc(n, 1);
		struct dir_entry e[100];
		struct model m;
		struct dvol d;
		struct inode *dir;
		uint64_t from = 0;
		char name[256];

		bucket_hash_mask = round % 4 == 3 ? 0xff00000000000000ull : ~0ull;
		model_new(&m, n, &r, round % 2 ? 60 : 12);
		dvol_open(&d, 16 * MIB);
		dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
		for (unsigned i = 0; i < n; i++)
			if (rng_below(&r, 2) && change1(dir, OP_INSERT, name, model_name(&m, i, name), 1000 + i) == 0)
				m.ino[i] = always[i] = ever[i] = 1;
		do {
			bad += dir_read(dir, from, e, batch, &got) != 0;
			for (unsigned i = 0; i < got; i++) {
				seen[e[i].ino.v - 1000]++;
				from = e[i].key + 1;
			}
			for (unsigned i = 0; i < 20; i++) {
				unsigned k = (unsigned)rng_below(&r, n);
				enum op op = m.ino[k] ? OP_REMOVE : OP_INSERT;
				int err = change1(dir, op, name, model_name(&m, k, name), 1000 + k);

				bad += err && !(err == -ENOSPC && op == OP_INSERT);
				if (!err) {
					m.ino[k] = op == OP_INSERT;
					always[k] = 0;
					ever[k] |= op == OP_INSERT;
				}
			}
		} while (got);
		for (unsigned i = 0; i < n; i++)
			bad += (always[i] && seen[i] != 1) || seen[i] > ever[i];
		/* One that went away and came back may be seen twice only under another key, which full hashes rule out. */
		inode_put(dir);
		dvol_close(&d);
		model_free(&m);
		free(seen);
		free(always);
		free(ever);
	}
	CU_ASSERT_EQUAL(bad, 0);
	bucket_hash_mask = ~0ull;
}

/* Several changes of one bucket in one transaction, in any order, a split among them; and the same aborted. */
static void test_one_transaction(void)
{
	unsigned bad = 0, splits = 0, second = 0;
	struct rng r = {3};
	struct model m;
	struct dvol d;
	struct inode *dir;
	char name[4][256];

	model_new(&m, 400, &r, 100);
	dvol_open(&d, 32 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	for (unsigned i = 0; i < 20000; i++) {
		struct step s[4];
		unsigned n = 2 + (unsigned)rng_below(&r, 3), k[4];
		uint64_t before = le64_get(inode_media(dir)->blocks), old[4];
		bool abort = rng_below(&r, 4) == 0;
		int err;

		for (unsigned j = 0; j < n; j++) {
			k[j] = (unsigned)rng_below(&r, m.n);
			if (j && rng_below(&r, 4) == 0)
				k[j] = k[j - 1];	/* the same name twice */
			old[j] = m.ino[k[j]];
			s[j].op = !old[j] ? OP_INSERT : rng_below(&r, 2) ? OP_REMOVE : OP_REPLACE;
			s[j].name = name[j];
			s[j].len = model_name(&m, k[j], name[j]);
			s[j].ino = 1000 + 4 * i + j;
			m.ino[k[j]] = s[j].op == OP_REMOVE ? 0 : s[j].ino;
		}
		if (abort) {
			struct step last[5];

			memcpy(last, s, sizeof(s));
			last[n] = (struct step){OP_REMOVE, "nobody", 6, 0};
			err = change(dir, last, n + 1);
			bad += err != -ENOENT && err != -E2BIG;
		} else {
			err = change(dir, s, n);
			bad += err && err != -E2BIG;
		}
		second += err == -E2BIG;
		if (err)
			for (unsigned j = n; j-- > 0;)
				m.ino[k[j]] = old[j];
		splits += le64_get(inode_media(dir)->blocks) != before;
		if (i % 100 == 0 || le64_get(inode_media(dir)->blocks) != before)
			bad += wrong_lookups(dir, &m) + wrong_iteration(dir, &m, 64);
		bad += dv_size(dir) != model_count(&m);
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT(splits > 5);
	printf("(%u splits, %u second ones refused) ", splits, second);
	CU_ASSERT_PTR_NULL(ivol_check(d.fs));
	inode_put(dir);
	dvol_close(&d);
	model_free(&m);
}

/* No space for a split: -ENOSPC, and the directory is as before. */
static void test_no_space(void)
{
	struct rng r = {4};
	struct model m;
	struct dvol d;
	struct inode *dir, *fat;
	unsigned bad = 0, i;
	char name[256];
	int err = 0;

	model_new(&m, 5000, &r, 30);
	dvol_open(&d, 8 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	fat = dv_must_make(d.root, "fat", S_IFREG | 0644);
	for (uint64_t at = 0; ivol_try_fill(fat, at, 16, false) == 0;)
		at += 16;
	for (uint64_t at = 1 << 20; ivol_try_fill(fat, at, 1, false) == 0;)
		at++;
	for (i = 0; i < m.n && !err; i++) {
		err = change1(dir, OP_INSERT, name, model_name(&m, i, name), 1000 + i);
		if (!err)
			m.ino[i] = 1000 + i;
	}
	CU_ASSERT_EQUAL(err, -ENOSPC);
	CU_ASSERT_EQUAL(wrong_lookups(dir, &m), 0);
	CU_ASSERT_EQUAL(wrong_iteration(dir, &m, 100), 0);
	for (i = 0; i < m.n; i++)
		if (m.ino[i])
			bad += change1(dir, OP_REMOVE, name, model_name(&m, i, name), 0) != 0;
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_PTR_NULL(ivol_check(d.fs));
	inode_put(fat);
	inode_put(dir);
	dvol_close(&d);
	model_free(&m);
}

int main(void)
{
	static const struct hf_case cases[] = {
		{"basics", test_basics},
		{"lengths_and_bytes", test_lengths_and_bytes},
		{"many", test_many},
		{"one_hash", test_one_hash},
		{"weak_hash", test_weak_hash},
		{"stable_cookies", test_stable_cookies},
		{"one_transaction", test_one_transaction},
		{"no_space", test_no_space},
	};

	return hf_run_suite("dir_entry", cases, HF_COUNT(cases));
}
