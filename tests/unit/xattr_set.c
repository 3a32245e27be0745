/* Extended attributes: what setxattr(2) and its kin promise, their limits, their crash, and damage. */
#include "itable_vol.h"

#include <sys/xattr.h>

enum { VALUE_MAX = 65536 };

static int change(struct inode *in, const char *name, const void *value, size_t size, int flags)
{
	struct txn *t = txn_begin(in->fs->journal);
	struct inode_edit e;
	int err;

	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	err = xattr_set(&e, name, value, size, flags);
	inode_edit_end(&e);
	if (err)
		txn_abort(t);
	else
		err = txn_commit(t, NULL);
	rwl_wrunlock(&in->layout);
	return err;
}

static int put(struct inode *in, const char *name, const char *value)
{
	return change(in, name, value, strlen(value), 0);
}

static int64_t get(struct inode *in, const char *name, void *value, size_t size)
{
	int64_t n;

	rwl_rdlock(&in->layout);
	n = xattr_get(in, name, value, size);
	rwl_rdunlock(&in->layout);
	return n;
}

static int64_t list(struct inode *in, char *names, size_t size)
{
	int64_t n;

	rwl_rdlock(&in->layout);
	n = xattr_list(in, names, size);
	rwl_rdunlock(&in->layout);
	return n;
}

static bool has(struct inode *in, const char *name, const char *value)
{
	char buf[256];
	int64_t n = get(in, name, buf, sizeof(buf));

	return n == (int64_t)strlen(value) && memcmp(buf, value, strlen(value)) == 0;
}

static void test_calls(void)
{
	struct ivol v;
	struct inode *in;
	struct stat st;
	char buf[64];

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	CU_ASSERT_EQUAL(get(in, "user.a", buf, sizeof(buf)), -ENODATA);
	CU_ASSERT_EQUAL(list(in, buf, sizeof(buf)), 0);
	CU_ASSERT_EQUAL(list(in, NULL, 0), 0);
	CU_ASSERT_EQUAL(put(in, "user.a", "one"), 0);
	CU_ASSERT(has(in, "user.a", "one"));
	CU_ASSERT_EQUAL(get(in, "user.a", NULL, 0), 3);
	CU_ASSERT_EQUAL(get(in, "user.a", buf, 2), -ERANGE);
	CU_ASSERT_EQUAL(get(in, "user.a", buf, 3), 3);
	CU_ASSERT_EQUAL(get(in, "user.", buf, 3), -EINVAL);
	CU_ASSERT_EQUAL(put(in, "user.a", "another"), 0);
	CU_ASSERT(has(in, "user.a", "another"));
	CU_ASSERT_EQUAL(put(in, "user.empty", ""), 0);
	CU_ASSERT_EQUAL(get(in, "user.empty", buf, sizeof(buf)), 0);
	CU_ASSERT_EQUAL(put(in, "trusted.t", "t"), 0);
	CU_ASSERT_EQUAL(put(in, "security.s", "s"), 0);
	CU_ASSERT_EQUAL(put(in, "system.s", "s"), 0);
	CU_ASSERT_EQUAL(list(in, NULL, 0), 7 + 11 + 10 + 11 + 9);
	CU_ASSERT_EQUAL(list(in, buf, 47), -ERANGE);
	CU_ASSERT_EQUAL(list(in, buf, 48), 48);
	CU_ASSERT_EQUAL(memcmp(buf, "user.a\0user.empty\0trusted.t\0security.s\0system.s", 48), 0);
	inode_stat(in, &st, NULL);
	CU_ASSERT_EQUAL(st.st_blocks, 8);
	IVOL_ASSERT_SOUND(&v.fs);

	CU_ASSERT_EQUAL(change(in, "user.a", NULL, 0, 0), 0);
	CU_ASSERT_EQUAL(get(in, "user.a", buf, sizeof(buf)), -ENODATA);
	CU_ASSERT_EQUAL(change(in, "user.a", NULL, 0, 0), -ENODATA);
	CU_ASSERT(has(in, "trusted.t", "t"));
	CU_ASSERT_EQUAL(change(in, "user.empty", NULL, 0, 0), 0);
	CU_ASSERT_EQUAL(change(in, "trusted.t", NULL, 0, 0), 0);
	CU_ASSERT_EQUAL(change(in, "system.s", NULL, 0, 0), 0);
	CU_ASSERT_EQUAL(change(in, "security.s", NULL, 0, 0), 0);
	/* The last one takes the fork with it. */
	CU_ASSERT_EQUAL(le64_get(inode_media(in)->xroot), 0);
	CU_ASSERT_EQUAL(le32_get(inode_media(in)->xbytes), 0);
	CU_ASSERT_EQUAL(le64_get(inode_media(in)->blocks), 0);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

static void test_flags(void)
{
	struct ivol v;
	struct inode *in;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFDIR, 2);
	CU_ASSERT_EQUAL(change(in, "user.a", "1", 1, XATTR_REPLACE), -ENODATA);
	CU_ASSERT_EQUAL(change(in, "user.a", "1", 1, XATTR_CREATE), 0);
	CU_ASSERT_EQUAL(change(in, "user.a", "2", 1, XATTR_CREATE), -EEXIST);
	CU_ASSERT(has(in, "user.a", "1"));
	CU_ASSERT_EQUAL(change(in, "user.a", "2", 1, XATTR_REPLACE), 0);
	CU_ASSERT(has(in, "user.a", "2"));
	CU_ASSERT_EQUAL(change(in, "user.a", "3", 1, XATTR_CREATE | XATTR_REPLACE), -EEXIST);
	CU_ASSERT_EQUAL(change(in, "user.b", "3", 1, XATTR_CREATE | XATTR_REPLACE), -ENODATA);
	CU_ASSERT_EQUAL(change(in, "user.b", "3", 1, 4), -EINVAL);
	inode_put(in);
	ivol_close(&v);
}

static void test_names(void)
{
	struct ivol v;
	struct inode *in, *link;
	char name[300];

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	CU_ASSERT_EQUAL(put(in, "", "x"), -ERANGE);
	CU_ASSERT_EQUAL(put(in, "user", "x"), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(put(in, "user.", "x"), -EINVAL);
	CU_ASSERT_EQUAL(put(in, "other.x", "x"), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(get(in, "other.x", NULL, 0), -EOPNOTSUPP);
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[255] = '\0';
	CU_ASSERT_EQUAL(put(in, name, "long"), 0);
	CU_ASSERT(has(in, name, "long"));
	name[254] = '\0';
	CU_ASSERT_EQUAL(get(in, name, NULL, 0), -ENODATA);
	name[254] = 'n';
	name[255] = 'n';
	name[256] = '\0';
	CU_ASSERT_EQUAL(put(in, name, "long"), -ERANGE);
	link = ivol_new(&v.fs, S_IFLNK | 0777, 1);
	CU_ASSERT_EQUAL(put(link, "user.a", "x"), -EPERM);
	CU_ASSERT_EQUAL(get(link, "user.a", NULL, 0), -ENODATA);
	CU_ASSERT_EQUAL(put(link, "trusted.a", "x"), 0);
	inode_put(in);
	inode_put(link);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

static void test_limits(void)
{
	uint8_t *big = malloc(VALUE_MAX + 1), *back = malloc(VALUE_MAX);
	unsigned n = 0;
	struct ivol v;
	struct inode *in;
	char name[32];
	int err = 0;

	for (unsigned i = 0; i < VALUE_MAX; i++)
		big[i] = (uint8_t)(i * 7 + i / 251);
	big[VALUE_MAX] = 0;
	ivol_open(&v, 32 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	CU_ASSERT_EQUAL(change(in, "user.big", big, VALUE_MAX + 1, 0), -E2BIG);
	CU_ASSERT_EQUAL(change(in, "user.big", big, VALUE_MAX, 0), 0);
	CU_ASSERT_EQUAL(get(in, "user.big", back, VALUE_MAX), VALUE_MAX);
	CU_ASSERT_EQUAL(memcmp(big, back, VALUE_MAX), 0);
	CU_ASSERT_EQUAL(get(in, "user.big", back, VALUE_MAX - 1), -ERANGE);
	IVOL_ASSERT_SOUND(&v.fs);
	/* All of them together have a limit too. */
	while (err == 0) {
		snprintf(name, sizeof(name), "user.big%u", n);
		err = change(in, name, big, VALUE_MAX, 0);
		n += err == 0;
	}
	CU_ASSERT_EQUAL(err, -ENOSPC);
	CU_ASSERT_EQUAL(n, FMT_XATTR_BLOB_MAX / VALUE_MAX - 2);
	CU_ASSERT_EQUAL(get(in, "user.big3", back, VALUE_MAX), VALUE_MAX);
	CU_ASSERT_EQUAL(memcmp(big, back, VALUE_MAX), 0);
	CU_ASSERT(has(in, "user.none", "") == false);
	IVOL_ASSERT_SOUND(&v.fs);
	while (n-- > 0) {
		snprintf(name, sizeof(name), "user.big%u", n);
		CU_ASSERT_EQUAL(change(in, name, NULL, 0, 0), 0);
	}
	CU_ASSERT_EQUAL(get(in, "user.big", NULL, 0), VALUE_MAX);
	IVOL_ASSERT_SOUND(&v.fs);
	inode_put(in);
	ivol_close(&v);
	free(big);
	free(back);
}

/* A full volume: nothing changes, and removing still works. */
static void test_full(void)
{
	struct ivol v;
	struct inode *in;
	char *big = calloc(1, 40000);
	int err = 0;

	ivol_open(&v, 4 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	CU_ASSERT_EQUAL(put(in, "user.a", "a"), 0);
	CU_ASSERT_EQUAL(put(in, "user.b", "b"), 0);
	for (uint64_t i = 0; err == 0; i++)
		err = ivol_try_fill(in, i, 1, false);
	CU_ASSERT_EQUAL(err, -ENOSPC);
	CU_ASSERT_EQUAL(change(in, "user.c", big, 40000, 0), -ENOSPC);
	CU_ASSERT(has(in, "user.a", "a"));
	CU_ASSERT_EQUAL(get(in, "user.c", NULL, 0), -ENODATA);
	IVOL_ASSERT_SOUND(&v.fs);
	CU_ASSERT_EQUAL(change(in, "user.a", NULL, 0, 0), 0);
	CU_ASSERT(has(in, "user.b", "b"));
	IVOL_ASSERT_SOUND(&v.fs);
	inode_put(in);
	ivol_close(&v);
	free(big);
}

static void flip(struct ivol *v, moff_t off, uint8_t xor)
{
	uint8_t b = *(const uint8_t *)pm_at(v->pm, off) ^ xor;

	pm_store(v->pm, off, &b, 1);
}

static moff_t blob_of(struct inode *in)
{
	struct map_extent x;

	ivol_must(map_lookup(in, FMT_FORK_XATTR, FBLK(0), 1, &x), "map_lookup");
	return mblk_to_moff(x.blk);
}

/* Each byte of a small blob, damaged: never a value, never a crash. */
static void test_damage(void)
{
	struct ivol v;
	struct inode *in;
	char buf[64];
	moff_t off;
	uint32_t bytes;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	CU_ASSERT_EQUAL(put(in, "user.a", "one"), 0);
	CU_ASSERT_EQUAL(put(in, "user.b", "two"), 0);
	off = blob_of(in);
	bytes = le32_get(inode_media(in)->xbytes);
	for (uint32_t i = 0; i < bytes; i++) {
		int64_t n;

		flip(&v, moff_add(off, i), 0x40);
		n = get(in, "user.a", buf, sizeof(buf));
		CU_ASSERT(n == -EBADMSG || n == -EUCLEAN);
		n = list(in, buf, sizeof(buf));
		CU_ASSERT(n == -EBADMSG || n == -EUCLEAN);
		CU_ASSERT(put(in, "user.c", "x") < 0);
		flip(&v, moff_add(off, i), 0x40);
	}
	CU_ASSERT(has(in, "user.b", "two"));
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* The checksum is right and the content makes no sense. */
static void test_structure(void)
{
	static const struct { uint32_t at; uint8_t xor; } bad[] = {
		{ 8, 1 },		/* magic */
		{ 12, 8 },		/* bytes */
		{ 16, 1 },		/* owner */
		{ 24, 1 },		/* count */
		{ 24, 2 },
		{ 32, 0x40 },		/* the first record's value length */
		{ 35, 0x80 },
		{ 36, 0x80 },		/* its name's length */
		{ 36, 6 },		/* ... is zero */
	};
	struct ivol v;
	struct inode *in;
	char buf[64];
	uint32_t bytes;
	moff_t off;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	CU_ASSERT_EQUAL(put(in, "user.a", "one"), 0);
	off = blob_of(in);
	bytes = le32_get(inode_media(in)->xbytes);
	for (size_t i = 0; i < HF_COUNT(bad); i++) {
		uint64_t csum = pm_load64(v.pm, off);

		flip(&v, moff_add(off, bad[i].at), bad[i].xor);
		pm_store64(v.pm, off, fmt_xattr_csum(&v.fs.geo, in->ino, pm_at(v.pm, off), bytes));
		CU_ASSERT_EQUAL(get(in, "user.a", buf, sizeof(buf)), -EUCLEAN);
		flip(&v, moff_add(off, bad[i].at), bad[i].xor);
		pm_store64(v.pm, off, csum);
	}
	CU_ASSERT(has(in, "user.a", "one"));
	inode_put(in);
	ivol_close(&v);
}

static void test_remove_all(void)
{
	struct ivol v;
	struct inode *in;
	struct inode_edit e;
	struct txn *t;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	for (int round = 0; round < 2; round++) {
		if (round == 0)
			CU_ASSERT_EQUAL(put(in, "user.a", "one"), 0);
		t = txn_begin(v.fs.journal);
		rwl_wrlock(&in->layout);
		inode_edit_begin(&e, in, t);
		CU_ASSERT_EQUAL(xattr_remove_all(&e), 0);
		inode_edit_end(&e);
		CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
		rwl_wrunlock(&in->layout);
		CU_ASSERT_EQUAL(list(in, NULL, 0), 0);
	}
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* Power fails at each fence: the old set or the new one, never a mixture, and no block lost. */
struct crash {
	struct sim *b;
	uint8_t *image;
	struct rng r;
	inum_t ino;
	struct geo geo;
	size_t len[2];			/* of the value: before or after */
	unsigned images, bad;
};

static void *crash_look(void *arg)
{
	struct crash *c = arg;
	struct ivol v;
	struct inode *in;
	const char *why;
	uint8_t *buf = malloc(VALUE_MAX);
	int64_t n;

	ivol_mount(&v, c->b->pm, 16);
	in = ivol_get(&v.fs, c->ino);
	n = get(in, "user.v", buf, VALUE_MAX);
	if (n == -ENODATA)
		n = 0;
	c->bad += n != (int64_t)c->len[0] && n != (int64_t)c->len[1];
	for (int64_t i = 0; i < n; i++)
		c->bad += buf[i] != (uint8_t)n;
	inode_put(in);
	why = ivol_check(&v.fs);
	if (why)
		printf("  %s\n", why);
	c->bad += why != NULL;
	ivol_unmount(&v);
	free(buf);
	return NULL;
}

static int crash_fence(struct sim *s, void *ctx)
{
	struct crash *c = ctx;
	pthread_t t;

	if (rng_below(&c->r, 2) == 0)
		ivol_lanes_image(s, &c->geo, c->image);
	else
		sim_crash_image(s, &c->r, c->image);
	sim_load(c->b, c->image);
	pthread_create(&t, NULL, crash_look, c);
	pthread_join(t, NULL);
	c->images++;
	return 0;
}

static void test_crash(void)
{
	unsigned rounds = getenv("HF_TEST_SHORT") ? 4 : 60;
	struct crash c = { .b = sim_new(8 * MIB), .image = malloc(8 * MIB), .r = { 5 } };
	struct sim *a = sim_new(8 * MIB);
	uint8_t *value = malloc(VALUE_MAX);
	struct inode *in;
	struct ivol v;

	ivol_mkfs(a->pm);
	ivol_mount(&v, a->pm, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	c.ino = in->ino;
	c.geo = v.fs.geo;
	ivol_must(journal_checkpoint(v.fs.journal), "checkpoint");
	pthread_mutex_lock(&a->mtx);
	a->ctx = &c;
	a->on_fence = crash_fence;
	pthread_mutex_unlock(&a->mtx);
	for (unsigned i = 0; i < rounds; i++) {
		c.len[1] = 1 + rng_below(&c.r, i % 4 ? 5000 : 30000);
		memset(value, (int)(c.len[1] & 0xff), c.len[1]);
		CU_ASSERT_EQUAL(change(in, "user.v", value, c.len[1], 0), 0);
		c.len[0] = c.len[1];
	}
	pthread_mutex_lock(&a->mtx);
	a->on_fence = NULL;
	pthread_mutex_unlock(&a->mtx);
	printf(" (%u images)", c.images);
	CU_ASSERT_EQUAL(c.bad, 0);
	inode_put(in);
	ivol_unmount(&v);
	sim_free(a);
	sim_free(c.b);
	free(c.image);
	free(value);
}

static const struct hf_case cases[] = {
	{ "calls", test_calls },
	{ "flags", test_flags },
	{ "names", test_names },
	{ "limits", test_limits },
	{ "full volume", test_full },
	{ "damage", test_damage },
	{ "structure", test_structure },
	{ "remove all", test_remove_all },
	{ "crash", test_crash },
};

int main(void)
{
	return hf_run_suite("xattr_set", cases, HF_COUNT(cases));
}
