/* Inode numbers: handed out, given back, grown, counted; and what a number's bytes say in between. */
#include "itable_vol.h"
#include "inode/itable_priv.h"

static void test_create_and_get(void)
{
	struct ivol v;
	struct inode *in, *again;
	uint64_t gen;
	inum_t ino;
	struct stat st;
	int64_t btime;

	ivol_open(&v, 16 * MIB, 0);
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), 1);
	CU_ASSERT_EQUAL(ivol_try_create(&v.fs, INUM(FMT_INO_ROOT), S_IFREG | 0640, 1, &ino, &gen), 0);
	CU_ASSERT(ino.v >= FMT_INO_FIRST);
	CU_ASSERT_NOT_EQUAL(gen, 0);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, gen, &in), 0);
	CU_ASSERT_EQUAL(in->gen, gen);
	CU_ASSERT_EQUAL(in->type, S_IFREG);
	inode_stat(in, &st, &btime);
	CU_ASSERT_EQUAL(st.st_ino, ino.v);
	CU_ASSERT_EQUAL(st.st_mode, S_IFREG | 0640);
	CU_ASSERT_EQUAL(st.st_nlink, 1);
	CU_ASSERT_EQUAL(st.st_uid, 7);
	CU_ASSERT_EQUAL(st.st_gid, 8);
	CU_ASSERT_EQUAL(st.st_size, 0);
	CU_ASSERT_EQUAL(st.st_mtim.tv_sec, btime / 1000000000);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, 0, &again), 0);
	CU_ASSERT_PTR_EQUAL(in, again);
	inode_put(again);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, gen + 1, &again), -ESTALE);
	CU_ASSERT_PTR_NULL(again);
	inode_put(in);
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), 2);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_remount(&v, 0);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, gen, &in), 0);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

static void test_refused_numbers(void)
{
	static const uint64_t none[] = { 0, 1, 2, 4, 15, 16, 31, 32, FMT_IGROUP_INODES, 1ull << 47, UINT64_MAX };
	struct ivol v;
	struct inode *in;

	ivol_open(&v, 16 * MIB, 0);
	for (size_t i = 0; i < HF_COUNT(none); i++) {
		CU_ASSERT_EQUAL(inode_get(&v.fs, INUM(none[i]), 0, &in), -ESTALE);
		CU_ASSERT_PTR_NULL(in);
	}
	CU_ASSERT_EQUAL(inode_get(&v.fs, INUM(FMT_INO_ROOT), 0, &in), 0);
	CU_ASSERT_EQUAL(in->type, S_IFDIR);
	inode_put(in);
	inode_put(NULL);
	ivol_close(&v);
}

static void test_inline_and_block(void)
{
	struct ivol v;
	uint8_t bytes[FMT_INLINE_MAX];
	struct inode_init init = { .mode = S_IFLNK | 0777, .nlink = 1, .inline_data = bytes };
	const struct fmt_inode *m;
	struct inode *in;
	uint64_t gen;
	struct txn *t;
	struct mext x;
	inum_t ino;

	memset(bytes, 'x', sizeof(bytes));
	ivol_open(&v, 16 * MIB, 0);
	init.inline_bytes = sizeof(bytes) + 1;
	CU_ASSERT_EQUAL(itable_reserve(&v.fs, INUM(3), &ino), 0);
	t = txn_begin(v.fs.journal);
	CU_ASSERT_EQUAL(inode_init(&v.fs, t, ino, &init, &gen), -EINVAL);
	txn_abort(t);
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), 1);
	init.inline_bytes = sizeof(bytes);
	CU_ASSERT_EQUAL(itable_reserve(&v.fs, INUM(3), &ino), 0);
	t = txn_begin(v.fs.journal);
	CU_ASSERT_EQUAL(inode_init(&v.fs, t, ino, &init, &gen), 0);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	in = ivol_get(&v.fs, ino);
	m = inode_media(in);
	CU_ASSERT_EQUAL(le64_get(m->size), sizeof(bytes));
	CU_ASSERT_EQUAL(le16_get(m->flags), FMT_FLAG_INLINE);
	CU_ASSERT_EQUAL(memcmp(m->inline_data, bytes, sizeof(bytes)), 0);
	CU_ASSERT_EQUAL(ivol_free(in), 0);
	inode_put(in);

	/* The next life begins with zeros where the first one's content was. */
	CU_ASSERT_EQUAL(itable_reserve(&v.fs, INUM(3), &ino), 0);
	t = txn_begin(v.fs.journal);
	init.inline_data = NULL;
	init.inline_bytes = 1000;
	ivol_must(space_alloc(v.fs.space, t, 1, MBLK_NULL, 0, &x), "space_alloc");
	init.block = x.first;
	CU_ASSERT_EQUAL(inode_init(&v.fs, t, ino, &init, &gen), 0);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	in = ivol_get(&v.fs, ino);
	m = inode_media(in);
	memset(bytes, 0, sizeof(bytes));
	CU_ASSERT_EQUAL(memcmp(m->inline_data, bytes, sizeof(bytes)), 0);
	CU_ASSERT_EQUAL(le64_get(m->size), 1000);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

static void test_generation(void)
{
	struct ivol v;
	uint64_t gen, first = 0, prev = 0;
	struct inode *in;
	inum_t ino, ino0 = INUM_NULL;

	ivol_open(&v, 16 * MIB, 0);
	for (int i = 0; i < 10; i++) {
		ivol_must(ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &ino, &gen), "create");
		if (i == 0) {
			ino0 = ino;
			first = gen;
		} else {
			CU_ASSERT_EQUAL(gen, prev + 1);
		}
		CU_ASSERT_EQUAL(ino.v, ino0.v);
		in = ivol_get(&v.fs, ino);
		CU_ASSERT_EQUAL(ivol_free(in), 0);
		CU_ASSERT(in->dead);
		inode_put(in);
		CU_ASSERT_EQUAL(inode_get(&v.fs, ino, 0, &in), -ESTALE);
		prev = gen;
		if (i == 5)
			ivol_remount(&v, 0);
	}
	ivol_must(ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &ino, &gen), "create");
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, first, &in), -ESTALE);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, gen, &in), 0);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* An aborted create gives its number back; so does a reservation that is not used. */
static void test_abort(void)
{
	struct ivol v;
	struct inode_init init = { .mode = S_IFREG, .nlink = 1 };
	struct inode *in;
	uint64_t gen, nfree;
	struct txn *t;
	inum_t a, b, c;

	ivol_open(&v, 16 * MIB, 0);
	ivol_create(&v.fs, S_IFREG, 1);
	nfree = itable_free(&v.fs);
	ivol_must(itable_reserve(&v.fs, INUM(3), &a), "reserve");
	ivol_must(itable_reserve(&v.fs, INUM(3), &b), "reserve");
	CU_ASSERT_NOT_EQUAL(a.v, b.v);
	CU_ASSERT_EQUAL(itable_free(&v.fs), nfree - 2);
	t = txn_begin(v.fs.journal);
	ivol_must(inode_init(&v.fs, t, a, &init, &gen), "inode_init");
	txn_abort(t);
	itable_unreserve(&v.fs, b);
	CU_ASSERT_EQUAL(itable_free(&v.fs), nfree);
	CU_ASSERT_EQUAL(inode_get(&v.fs, a, 0, &in), -ESTALE);
	ivol_must(itable_reserve(&v.fs, INUM(3), &c), "reserve");
	CU_ASSERT(c.v == a.v || c.v == b.v);
	itable_unreserve(&v.fs, c);
	/* An aborted free leaves everything as it was. */
	c = ivol_create(&v.fs, S_IFREG, 1);
	in = ivol_get(&v.fs, c);
	t = txn_begin(v.fs.journal);
	rwl_wrlock(&in->layout);
	inode_free(in, t);
	txn_abort(t);
	rwl_wrunlock(&in->layout);
	CU_ASSERT(!in->dead);
	inode_put(in);
	in = ivol_get(&v.fs, c);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* I-INO-2, J2: while the transaction that frees a number is not applied, nobody else gets the number. */
static void test_reuse_after_apply(void)
{
	struct ivol v;
	struct inode *in;
	struct txn *t;
	inum_t ino, other[64];
	size_t n = 0;

	ivol_open(&v, 16 * MIB, 0);
	ino = ivol_create(&v.fs, S_IFREG, 1);
	in = ivol_get(&v.fs, ino);
	t = txn_begin(v.fs.journal);
	rwl_wrlock(&in->layout);
	inode_free(in, t);
	while (n < HF_COUNT(other)) {
		ivol_must(itable_reserve(&v.fs, ino, &other[n]), "reserve");
		CU_ASSERT_NOT_EQUAL(other[n].v, ino.v);
		n++;
	}
	CU_ASSERT(!in->dead);
	ivol_must(txn_commit(t, NULL), "commit");
	rwl_wrunlock(&in->layout);
	CU_ASSERT(in->dead);
	ivol_must(itable_reserve(&v.fs, ino, &other[0]), "reserve");
	CU_ASSERT_EQUAL(other[0].v, ino.v);
	inode_put(in);
	ivol_close(&v);
}

/* The same, for an inode that does not exist before its transaction is applied: every number that is kept is -ESTALE. */
static void test_not_before_apply(void)
{
	struct ivol v;
	struct inode_init init = { .mode = S_IFREG, .nlink = 1 };
	struct inode *in;
	uint64_t gen;
	struct txn *t;
	inum_t ino;

	ivol_open(&v, 16 * MIB, 0);
	ivol_must(itable_reserve(&v.fs, INUM(3), &ino), "reserve");
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, 0, &in), -ESTALE);
	t = txn_begin(v.fs.journal);
	ivol_must(inode_init(&v.fs, t, ino, &init, &gen), "inode_init");
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, 0, &in), -ESTALE);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, gen, &in), -ESTALE);
	ivol_must(txn_commit(t, NULL), "commit");
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, gen, &in), 0);
	inode_put(in);
	ivol_close(&v);
}

/* I-INO-4, the order of the items: an image is whole before its bit is set, and in use until after its bit is clear. Seen from
 * the stores of the apply. */
struct order {
	struct pm *pm;
	struct ino_place place;
	struct geo geo;
	inum_t ino;
	unsigned bad, seen;
	bool armed;
};

static void order_store(void *ctx, moff_t off, uint64_t len, bool nontemporal)
{
	struct order *o = ctx;
	const struct fmt_inode *img;

	(void)off;
	(void)len;
	(void)nontemporal;
	if (!o->armed)
		return;
	if (!(pm_load64(o->pm, MOFF(o->place.bit / 64 * 8)) >> o->place.bit % 64 & 1))
		return;
	img = pm_at(o->pm, o->place.image);
	o->seen++;
	if (fmt_inode_verify(&o->geo, img, o->ino) != 0 || le32_get(img->mode) == 0)
		o->bad++;
}

static void test_order_of_items(void)
{
	struct order o = { 0 };
	struct pm_hook hook = { .ctx = &o, .store = order_store };
	struct pm_open_args args = { .force_gran = true, .gran = PM_LINE, .hook = &hook };
	struct ivol v;
	struct inode *in;
	inum_t ino;

	ivol_must(pm_open_memfd(16 * MIB, &args, &o.pm), "pm_open_memfd");
	ivol_mkfs(o.pm);
	ivol_mount(&v, o.pm, 0);
	o.geo = v.fs.geo;
	o.ino = ivol_create(&v.fs, S_IFREG, 1);
	in = ivol_get(&v.fs, o.ino);
	ivol_must(itable_locate(v.fs.itable, o.ino, &o.place), "locate");
	o.armed = true;
	CU_ASSERT_EQUAL(ivol_free(in), 0);
	inode_put(in);
	ino = ivol_create(&v.fs, S_IFREG, 1);
	CU_ASSERT_EQUAL(ino.v, o.ino.v);
	o.armed = false;
	CU_ASSERT_EQUAL(o.bad, 0);
	CU_ASSERT(o.seen > 0);
	ivol_close(&v);
}

static void test_near(void)
{
	struct ivol v;
	inum_t a, b;
	uint64_t gen;

	ivol_open(&v, 32 * MIB, 0);
	for (int i = 0; i < 1000; i++)
		ivol_create(&v.fs, S_IFREG, 1);
	a = INUM(500);
	for (int i = 0; i < 3; i++) {
		struct inode *in = ivol_get(&v.fs, INUM(a.v + (unsigned)i));

		ivol_free(in);
		inode_put(in);
	}
	/* A free number in the same block of inodes is the one. */
	ivol_must(ivol_try_create(&v.fs, a, S_IFREG, 1, &b, &gen), "create");
	CU_ASSERT_EQUAL(b.v / FMT_INODES_PER_BLOCK, a.v / FMT_INODES_PER_BLOCK);
	/* None in the group's later words: around its end. */
	ivol_must(ivol_try_create(&v.fs, INUM(FMT_IGROUP_INODES - 1), S_IFREG, 1, &b, &gen), "create");
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* More than a group of 32768, remounted in between: bitmaps of several groups, and growth over the boundary. */
static void test_groups(void)
{
	enum { N = 3 * FMT_IGROUP_INODES / 2 };
	struct ivol v;
	struct inode *in;
	uint64_t before, gen;
	inum_t last = INUM_NULL, ino;

	ivol_open(&v, 64 * MIB, 256);
	before = ivol_commits(&v.fs);
	for (int i = 0; i < N; i++)
		last = ivol_create(&v.fs, S_IFREG, 1);
	CU_ASSERT(last.v > FMT_IGROUP_INODES);
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), N + 1);
	printf(" (%.3f growths per create)", (double)(ivol_commits(&v.fs) - before - N) / N);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_remount(&v, 256);
	CU_ASSERT_PTR_NULL(v.fs.itable->slots[0].group);
	CU_ASSERT_PTR_NULL(v.fs.itable->slots[1].group);
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), N + 1);
	CU_ASSERT_PTR_NULL(v.fs.itable->slots[0].group);
	/* A free number in a full group that is not loaded. */
	in = ivol_get(&v.fs, INUM(12345));
	ivol_free(in);
	inode_put(in);
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), N);
	ivol_must(ivol_try_create(&v.fs, INUM(77), S_IFREG, 1, &ino, &gen), "create");
	CU_ASSERT_EQUAL(ino.v, 12345);
	/* Nothing free near: it comes from the other group, not from growth. */
	ivol_must(ivol_try_create(&v.fs, INUM(77), S_IFREG, 1, &ino, &gen), "create");
	CU_ASSERT_EQUAL(fmt_ino_group(ino), 1);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* After a mount, nothing is known of any group: a free number is found without growing the table. */
static void test_probe(void)
{
	struct ivol v;
	struct inode *in;
	uint64_t gen, size;
	inum_t ino;

	ivol_open(&v, 16 * MIB, 0);
	while (itable_free(&v.fs) > 0 || itable_in_use(&v.fs) < 100)
		ivol_create(&v.fs, S_IFREG, 1);
	in = ivol_get(&v.fs, INUM(40));
	ivol_free(in);
	inode_put(in);
	ivol_remount(&v, 0);
	size = v.fs.itable->nblocks;
	/* 'near' is beyond the table. */
	ivol_must(ivol_try_create(&v.fs, INUM(5 * FMT_IGROUP_INODES), S_IFREG, 1, &ino, &gen), "create");
	CU_ASSERT_EQUAL(ino.v, 40);
	CU_ASSERT_EQUAL(v.fs.itable->nblocks, size);
	ivol_close(&v);
}

/* What a thread keeps for itself counts as free, is near, and is everybody's before the volume is full. The threads are
 * this one, with two numbers. */
static void test_own(void)
{
	struct ivol v;
	inum_t a, b, c;
	uint64_t gen, nfree;
	int err;

	ivol_open(&v, 4 * MIB, 64);
	journal_thread_number(1);
	a = ivol_create(&v.fs, S_IFREG, 1);
	nfree = itable_free(&v.fs);
	journal_thread_number(2);
	b = ivol_create(&v.fs, S_IFREG, 1);
	CU_ASSERT_NOT_EQUAL(a.v / FMT_INODES_PER_BLOCK, b.v / FMT_INODES_PER_BLOCK);
	CU_ASSERT(itable_free(&v.fs) % FMT_INODES_PER_BLOCK == (nfree - 1) % FMT_INODES_PER_BLOCK); /* it may have grown */
	journal_thread_number(1);
	c = ivol_create(&v.fs, S_IFREG, 1);
	CU_ASSERT_EQUAL(c.v, a.v + 1);
	IVOL_ASSERT_SOUND(&v.fs);
	/* The first fills the volume; the second has the rest of its block, and one that it frees. */
	do {
		err = ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &c, &gen);
	} while (err == 0);
	CU_ASSERT_EQUAL(err, -ENOSPC);
	CU_ASSERT_EQUAL(itable_free(&v.fs), 0);
	for (uint64_t i = 20; i < 40; i++) {
		struct inode *in = ivol_get(&v.fs, INUM(i));

		journal_thread_number((uint32_t)(2 + i % 3));
		ivol_free(in);
		inode_put(in);
	}
	CU_ASSERT_EQUAL(itable_free(&v.fs), 20);
	journal_thread_number(1);
	for (int i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &c, &gen), 0);
	CU_ASSERT_EQUAL(ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &c, &gen), -ENOSPC);
	CU_ASSERT_EQUAL(itable_free(&v.fs), 0);
	IVOL_ASSERT_SOUND(&v.fs);
	journal_thread_number(0);
	ivol_close(&v);
}

/* Until the volume is full, and again after some were freed. */
static void test_full(void)
{
	struct ivol v;
	uint64_t gen, n = 0;
	inum_t ino;
	int err;

	ivol_open(&v, 4 * MIB, 64);
	do {
		err = ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &ino, &gen);
		n += err == 0;
	} while (err == 0);
	CU_ASSERT_EQUAL(err, -ENOSPC);
	CU_ASSERT(n > 100);
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), n + 1);
	CU_ASSERT_EQUAL(itable_free(&v.fs), 0);
	for (uint64_t i = 20; i < 40; i++) {
		struct inode *in = ivol_get(&v.fs, INUM(i));

		ivol_free(in);
		inode_put(in);
	}
	ivol_remount(&v, 64);
	for (int i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &ino, &gen), 0);
	CU_ASSERT_EQUAL(ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &ino, &gen), -ENOSPC);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

static void scribble(struct ivol *v, moff_t off, uint8_t xor)
{
	uint8_t b = *(const uint8_t *)pm_at(v->pm, off) ^ xor;

	pm_store(v->pm, off, &b, 1);
}

static void test_damage(void)
{
	struct ivol v;
	struct ino_place place;
	struct inode *in;
	struct txn *t;
	struct inode_edit e;
	inum_t ino, other;
	uint64_t gen;

	ivol_open(&v, 16 * MIB, 0);
	ino = ivol_create(&v.fs, S_IFREG, 1);
	other = ivol_create(&v.fs, S_IFREG, 1);
	ivol_must(itable_locate(v.fs.itable, ino, &place), "locate");
	/* A bad image in use. */
	scribble(&v, moff_add(place.image, 40), 1);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, 0, &in), -EBADMSG);
	CU_ASSERT_PTR_NULL(in);
	scribble(&v, moff_add(place.image, 40), 1);
	/* One that goes bad while it is cached does not get a right checksum by being changed elsewhere (I-INO-5). */
	in = ivol_get(&v.fs, ino);
	scribble(&v, moff_add(place.image, 40), 1);
	t = txn_begin(v.fs.journal);
	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	e.img.uid = le32_of(1);
	inode_edit_end(&e);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	rwl_wrunlock(&in->layout);
	CU_ASSERT_EQUAL(fmt_inode_verify(&v.fs.geo, inode_media(in), ino), -EBADMSG);
	scribble(&v, moff_add(place.image, 40), 1);
	CU_ASSERT_EQUAL(fmt_inode_verify(&v.fs.geo, inode_media(in), ino), 0);
	CU_ASSERT_EQUAL(ivol_free(in), 0);
	inode_put(in);
	/* A bad free image is passed over. */
	scribble(&v, moff_add(place.image, 16), 1);
	ivol_must(ivol_try_create(&v.fs, ino, S_IFREG, 1, &other, &gen), "create");
	CU_ASSERT_NOT_EQUAL(other.v, ino.v);
	scribble(&v, moff_add(place.image, 16), 1);
	ivol_remount(&v, 0);
	/* The bit is set, the image is free; and the other way round. */
	pm_or64(v.pm, MOFF(place.bit / 64 * 8), 1ull << place.bit % 64);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, 0, &in), -EUCLEAN);
	pm_and64(v.pm, MOFF(place.bit / 64 * 8), ~(1ull << place.bit % 64));
	ivol_must(itable_locate(v.fs.itable, other, &place), "locate");
	pm_and64(v.pm, MOFF(place.bit / 64 * 8), ~(1ull << place.bit % 64));
	CU_ASSERT_EQUAL(inode_get(&v.fs, other, 0, &in), -ESTALE);
	ivol_must(ivol_try_create(&v.fs, other, S_IFREG, 1, &ino, &gen), "create");
	CU_ASSERT_NOT_EQUAL(other.v, ino.v);
	ivol_close(&v);
}

/* A table whose inode or map is damaged does not mount, and says why. */
static void test_damaged_table(void)
{
	moff_t self = MOFF(FMT_BLK_INODES0 * (uint64_t)HF_BLOCK_SIZE + FMT_INO_ITABLE * FMT_INODE_SIZE);
	struct ivol v;
	struct inode *in;
	struct pm *pm;

	ivol_open(&v, 16 * MIB, 0);
	pm = v.pm;
	ivol_unmount(&v);
	scribble(&v, moff_add(self, 40), 1);
	CU_ASSERT_EQUAL(ivol_try_mount(&v, pm, 0), -EBADMSG);
	scribble(&v, moff_add(self, 40), 1);
	scribble(&v, MOFF(FMT_BLK_ITNODE * (uint64_t)HF_BLOCK_SIZE + 8), 1);
	ivol_mount(&v, pm, 0);
	CU_ASSERT_EQUAL(inode_get(&v.fs, INUM(FMT_INO_ROOT), 0, &in), -EBADMSG);
	scribble(&v, MOFF(FMT_BLK_ITNODE * (uint64_t)HF_BLOCK_SIZE + 8), 1);
	scribble(&v, MOFF(FMT_BLK_ITNODE * (uint64_t)HF_BLOCK_SIZE), 1);
	ivol_remount(&v, 0);
	CU_ASSERT_EQUAL(inode_get(&v.fs, INUM(FMT_INO_ROOT), 0, &in), -EBADMSG);
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), UINT64_MAX);
	scribble(&v, MOFF(FMT_BLK_ITNODE * (uint64_t)HF_BLOCK_SIZE), 1);
	CU_ASSERT_EQUAL(inode_get(&v.fs, INUM(FMT_INO_ROOT), 0, &in), 0);
	inode_put(in);
	ivol_close(&v);
}

/* The record of a create and of a free: a short one is what makes them cheap. */
static void test_record_size(void)
{
	struct ivol v;
	struct inode_init init = { .mode = S_IFREG | 0644, .nlink = 1, .uid = 1, .gid = 1 };
	struct inode *in;
	uint64_t gen;
	struct txn *t;
	uint32_t room, fresh, freed, again;
	inum_t ino;

	ivol_open(&v, 16 * MIB, 0);
	ivol_must(itable_reserve(&v.fs, INUM(3), &ino), "reserve");
	t = txn_begin(v.fs.journal);
	room = txn_room(t);
	ivol_must(inode_init(&v.fs, t, ino, &init, &gen), "init");
	fresh = room - txn_room(t);
	ivol_must(txn_commit(t, NULL), "commit");
	in = ivol_get(&v.fs, ino);
	t = txn_begin(v.fs.journal);
	rwl_wrlock(&in->layout);
	inode_free(in, t);
	freed = room - txn_room(t);
	ivol_must(txn_commit(t, NULL), "commit");
	rwl_wrunlock(&in->layout);
	inode_put(in);
	ivol_must(itable_reserve(&v.fs, INUM(3), &ino), "reserve");
	t = txn_begin(v.fs.journal);
	ivol_must(inode_init(&v.fs, t, ino, &init, &gen), "init");
	again = room - txn_room(t);
	txn_abort(t);
	printf(" (bytes: create %u, free %u, create again %u)", fresh, freed, again);
	CU_ASSERT(fresh <= 128);
	CU_ASSERT(freed <= 48);
	CU_ASSERT(again <= 128);
	ivol_close(&v);
}

static const struct hf_case cases[] = {
	{ "create and get", test_create_and_get },
	{ "numbers that are nobody's", test_refused_numbers },
	{ "inline content and a first block", test_inline_and_block },
	{ "generation", test_generation },
	{ "abort", test_abort },
	{ "reuse after apply", test_reuse_after_apply },
	{ "not before apply", test_not_before_apply },
	{ "order of items", test_order_of_items },
	{ "near", test_near },
	{ "groups", test_groups },
	{ "probe", test_probe },
	{ "own", test_own },
	{ "full", test_full },
	{ "damage", test_damage },
	{ "damaged table", test_damaged_table },
	{ "record size", test_record_size },
};

int main(void)
{
	return hf_run_suite("itable_numbers", cases, HF_COUNT(cases));
}
