/* Directories: finding, iterating and changing entries.
 *
 * A trie without inner nodes: the bucket for the names whose hash begins with the d bits p is block 2^d - 1 + p of the
 * directory's map, and for each hash exactly one depth d has a bucket (I-DIR-2). Which, is not written anywhere: it is found
 * by probing the map, from the depth where the last bucket was found outward. In a directory of a million names all buckets
 * have one of three or four depths, so that takes one or two probes.
 *
 * Crash: a bucket that is reached by the map is changed through the journal only: an entry's slots, which nobody reads while
 * their tags say free, and then its tags (and their check) are in one record with the directory's inode. A split composes
 * fresh buckets, which the journal makes durable before the record that puts them into the map and takes the full one out
 * (I-JNL: what a record points at is durable before it); the full one's block is metadata and so stays out of use until no
 * record can write into it any more (I-BUSY-1). So at every instant, after recovery, the directory is the one before the
 * transaction or the one after it. */
#include "dir/dir.h"
#include "dir/bucket.h"

#include <string.h>

/* A bucket as it is, or as the transaction under way will leave it. */
struct dir_bucket {
	const struct pm *pm;
	const struct geo *geo;
	struct txn *t;			/* NULL: as it is */
	struct bucket_id id;
	const struct fmt_bucket *media;
	struct bucket_tags tags;
};

/* ---- finding the bucket */

/* What the directory's inode says, with e: as it will be. */
static unsigned dir_depth(const struct inode *dir, const struct inode_edit *e)
{
	return e ? e->img.dir_depth : inode_media(dir)->dir_depth;
}
static bool dir_has_map(const struct inode *dir, const struct inode_edit *e)
{
	return (e ? le64_get(e->img.root) : pm_load64(dir->fs->pm, moff_add(dir->off, offsetof(struct fmt_inode, root)))) != 0;
}

static int dir_probe(struct inode *dir, struct inode_edit *e, unsigned depth, uint64_t key, mblk_t *blk)
{
	fblk_t at = dir_bucket_fblk(depth, bucket_prefix(key, depth));
	struct map_extent x;
	int err = e ? map_lookup_edit(e, FMT_FORK_DATA, at, 1, &x) : map_lookup(dir, FMT_FORK_DATA, at, 1, &x);

	*blk = err ? MBLK_NULL : x.blk;
	return err;
}

/* The bucket for a key: its block and depth. *blk is null if the directory has no bucket at all.
 * Probes hint, hint + 1, hint - 1, hint + 2 ... as far as they lie in 0..max. */
static int dir_locate(struct inode *dir, struct inode_edit *e, uint64_t key, mblk_t *blk, unsigned *depth)
{
	unsigned max = dir_depth(dir, e);
	unsigned hint = atomic_load_explicit(&dir->dir_hint, memory_order_relaxed);

	*blk = MBLK_NULL;
	*depth = 0;
	if (!dir_has_map(dir, e))
		return 0;
	if (max > FMT_DIR_MAX_DEPTH)
		return err_set(-EUCLEAN, "directory %llu: depth %u is out of range", (unsigned long long)dir->ino.v, max);
	if (hint > max)
		hint = max;
	for (unsigned i = 0; i <= 2 * max + 1; i++) {
		unsigned d = i % 2 ? hint + (i + 1) / 2 : hint - i / 2;	/* below 0: wraps, and is above max */
		int err;

		if (d > max)
			continue;
		err = dir_probe(dir, e, d, key, blk);
		if (err)
			return err;
		if (mblk_is_null(*blk))
			continue;
		if (i)
			atomic_store_explicit(&dir->dir_hint, d, memory_order_relaxed);
		*depth = d;
		return 0;
	}
	return err_set(-EUCLEAN, "directory %llu: no bucket for the hash %llx", (unsigned long long)dir->ino.v,
		       (unsigned long long)key);
}

/* ---- one bucket */

static void dir_bucket_load(struct dir_bucket *b)
{
	b->media = pm_at(b->pm, mblk_to_moff(b->id.blk));
	if (!b->t || !txn_may_have(b->t, bucket_tag_off(b->id.blk, 0), sizeof(b->tags.w))) {
		bucket_tags_load(&b->media->head, &b->tags);
		return;
	}
	for (unsigned i = 0; i < 8; i++)
		b->tags.w[i] = txn_load64(b->t, bucket_tag_off(b->id.blk, i));
}

static int dir_bucket_verify(const struct dir_bucket *b)
{
	int err = bucket_head_verify(b->geo, &b->id, &b->media->head);

	return err ? err : bucket_tags_verify(&b->id, &b->tags);
}

static void dir_bucket_of(struct dir_bucket *b, struct inode *dir, struct txn *t, mblk_t blk, unsigned depth,
			  uint64_t prefix)
{
	b->pm = dir->fs->pm;
	b->geo = &dir->fs->geo;
	b->t = t;
	b->id = (struct bucket_id){dir->ino, dir->gen, blk, prefix, depth};
	dir_bucket_load(b);
}

/* The bucket of a position: it was verified by dir_find, and nobody else has changed it since. */
static void dir_bucket_at(struct dir_bucket *b, struct inode_edit *de, const struct dir_pos *pos)
{
	dir_bucket_of(b, de->in, de->t, pos->blk, pos->depth, pos->prefix);
}

/* An entry's bytes as the transaction will leave them; buf is for those that it changed. A slot is written by an insertion,
 * which writes its first three words, or by a replacement, which writes the second and third: if those are the media's, so is
 * the rest (the third has a hash of it all). */
static const void *dir_entry_raw(const struct dir_bucket *b, unsigned slot, le64_t *buf)
{
	const struct fmt_dirent *d = &b->media->slot[slot];
	moff_t off = bucket_slot_off(b->id.blk, slot);
	unsigned words = bucket_entry_run(&b->tags, slot) * FMT_DIR_SLOT / 8;
	unsigned same = 0;

	if (!b->t || !txn_may_have(b->t, off, words * 8))
		return d;
	while (same < 3 && txn_load64(b->t, moff_add(off, 8 * same)) == pm_load64(b->pm, moff_add(off, 8 * same)))
		same++;
	if (same == 3)
		return d;
	for (unsigned i = 0; i < words; i++)
		buf[i] = le64_of(txn_load64(b->t, moff_add(off, 8 * i)));
	return buf;
}

#define DIR_RUN_WORDS (BUCKET_RUN_MAX * FMT_DIR_SLOT / 8)

/* Looks for a name in the bucket of its hash. Entries whose tag matches are verified, also those with another hash: the key
 * may be what is damaged. */
static int dir_bucket_find(const struct dir_bucket *b, const char *name, unsigned len, struct dir_pos *pos)
{
	uint64_t heads = bucket_tags_match(&b->tags, bucket_tag_of(pos->hash));
	uint64_t ties = 0;	/* low bytes of the keys with this hash; a bucket has at most 62 entries */
	le64_t buf[DIR_RUN_WORDS];

	for (; heads; heads &= heads - 1) {
		unsigned slot = (unsigned)__builtin_ctzll(heads);
		struct bucket_entry e;
		int err = bucket_entry_read(b->geo, &b->id, &b->tags, slot, dir_entry_raw(b, slot, buf), &e);

		if (err)
			return err;
		if ((e.key & ~0xffull) != pos->hash)
			continue;
		if (e.len == len && memcmp(e.name, name, len) == 0) {
			pos->found = true;
			pos->key = e.key;
			pos->target = e.target;
			pos->slot = e.slot;
			pos->nslots = e.nslots;
			return 0;
		}
		ties |= 1ull << (e.key & (BUCKET_TIES - 1));
	}
	pos->tie = (uint8_t)__builtin_ctzll(~ties);
	return 0;
}

static int dir_find_edit(struct inode *dir, struct inode_edit *e, const char *name, unsigned len, struct dir_pos *pos)
{
	struct dir_bucket b;
	unsigned depth;
	int err;

	pos->found = false;
	pos->tie = 0;
	pos->hash = bucket_hash(&dir->fs->geo, name, len);
	err = dir_locate(dir, e, pos->hash, &pos->blk, &depth);
	if (err)
		return err;
	pos->depth = (uint8_t)depth;
	pos->prefix = bucket_prefix(pos->hash, depth);
	if (mblk_is_null(pos->blk))
		return 0;
	dir_bucket_of(&b, dir, e ? e->t : NULL, pos->blk, depth, pos->prefix);
	err = dir_bucket_verify(&b);
	return err ? err : dir_bucket_find(&b, name, len, pos);
}

int dir_find(struct inode *dir, const char *name, unsigned len, struct dir_pos *pos)
{
	return dir_find_edit(dir, NULL, name, len, pos);
}

int dir_lookup(struct inode *dir, const char *name, unsigned len, struct dir_entry *out)
{
	struct dir_pos pos;
	int err = dir_find(dir, name, len, &pos);

	if (err)
		return err;
	if (!pos.found)
		return err_set(-ENOENT, "no such name");
	out->ino = dir_pos_ino(&pos);
	out->type = dir_pos_type(&pos);
	out->len = (uint8_t)len;
	out->key = pos.key;
	return 0;
}

/* ---- iterating */

struct dir_list {
	unsigned n;
	struct {
		uint64_t key;
		uint8_t slot;
	} at[FMT_DIR_SLOTS];
};

static uint64_t dir_bucket_heads(const struct bucket_tags *t)
{
	return bucket_tags_used(t) & ~bucket_tags_match(t, FMT_TAG_MORE);
}

/* The bucket's entries with key >= from, in order. All are verified: a damaged key must not hide its entry. */
static int dir_bucket_list(const struct dir_bucket *b, uint64_t from, struct dir_list *l)
{
	uint64_t heads = dir_bucket_heads(&b->tags);

	l->n = 0;
	for (; heads; heads &= heads - 1) {
		unsigned slot = (unsigned)__builtin_ctzll(heads), i;
		struct bucket_entry e;
		int err = bucket_entry_read(b->geo, &b->id, &b->tags, slot, &b->media->slot[slot], &e);

		if (err)
			return err;
		if (e.key < from)
			continue;
		for (i = l->n; i > 0 && l->at[i - 1].key > e.key; i--)
			l->at[i] = l->at[i - 1];
		if (i > 0 && l->at[i - 1].key == e.key)
			return err_set(-EUCLEAN, "directory %llu, bucket in block %llu, slot %u: another entry has its key",
				       (unsigned long long)b->id.dir.v, (unsigned long long)b->id.blk.v, slot);
		l->at[i].key = e.key;
		l->at[i].slot = (uint8_t)slot;
		l->n++;
	}
	return 0;
}

/* Of an entry that was verified. */
static void dir_entry_fill(const struct fmt_dirent *d, struct dir_entry *out)
{
	uint64_t target = le64_get(d->target);

	out->ino = INUM(FMT_DIRENT_INO(target));
	out->type = (uint8_t)FMT_DIRENT_TYPE(target);
	out->len = (uint8_t)FMT_DIRENT_LEN(target);
	out->key = le64_get(d->key);
	memcpy(out->name, (const uint8_t *)d + BUCKET_HEAD_BYTES, out->len);
	out->name[out->len] = '\0';
}

int dir_read(struct inode *dir, uint64_t from, struct dir_entry *out, unsigned max, unsigned *n)
{
	*n = 0;
	while (*n < max) {
		struct dir_bucket b;
		struct dir_list l;
		unsigned depth;
		mblk_t blk;
		int err = dir_locate(dir, NULL, from, &blk, &depth);

		if (err || mblk_is_null(blk))
			return err;
		dir_bucket_of(&b, dir, NULL, blk, depth, bucket_prefix(from, depth));
		err = dir_bucket_verify(&b);
		if (err)
			return err;
		err = dir_bucket_list(&b, from, &l);
		if (err)
			return err;
		for (unsigned i = 0; i < l.n && *n < max; i++)
			dir_entry_fill(&b.media->slot[l.at[i].slot], &out[(*n)++]);
		if (depth == 0 || b.id.prefix + 1 == 1ull << depth)
			return 0;
		from = (b.id.prefix + 1) << (64 - depth);	/* rises each time round: the loop ends */
	}
	return 0;
}

int dir_next(struct inode *dir, uint64_t from, struct dir_entry *out)
{
	unsigned n;
	int err = dir_read(dir, from, out, 1, &n);

	if (err)
		return err;
	return n ? 0 : err_set(-ENOENT, "no more entries");
}

/* ---- changing in place */

/* Only the words that differ; the check is made anew. */
static void dir_tags_store(const struct dir_bucket *b, struct bucket_tags *to)
{
	bucket_tags_seal(to);
	for (unsigned i = 0; i < 8; i++)
		if (to->w[i] != b->tags.w[i])
			txn_set64(b->t, bucket_tag_off(b->id.blk, i), to->w[i]);
}

/* Crash: slot bytes and tags are in one record; before it the tags say free, so nobody looks at the bytes. */
static void dir_bucket_add(const struct dir_bucket *b, unsigned slot, uint64_t key, uint64_t target, const char *name)
{
	unsigned len = FMT_DIRENT_LEN(target);
	struct bucket_tags to = b->tags;
	le64_t buf[DIR_RUN_WORDS];

	bucket_entry_write(b->geo, b->id.dir, key, target, name, buf);
	txn_copy(b->t, bucket_slot_off(b->id.blk, slot), buf, bucket_entry_bytes(len));
	bucket_tags_set(&to, slot, bucket_nslots(len), bucket_tag_of(key));
	dir_tags_store(b, &to);
}

/* ---- splitting */

/* A full bucket's entries, by slot of their heads, and the one that did not fit. */
struct dir_split {
	struct inode_edit *de;
	uint64_t key, target;			/* the new entry */
	const char *name;
	uint64_t heads;
	uint64_t keys[FMT_DIR_SLOTS];
	uint8_t nslots[FMT_DIR_SLOTS];
	struct fmt_bucket from;
};

/* Not zeroed: of the arrays only the heads' places are used. */
static void dir_split_init(struct dir_split *s, struct inode_edit *de, uint64_t key, uint64_t target, const char *name)
{
	s->de = de;
	s->key = key;
	s->target = target;
	s->name = name;
	s->heads = 0;
}

static int dir_split_gather(const struct dir_bucket *b, struct dir_split *s)
{
	s->heads = dir_bucket_heads(&b->tags);
	for (uint64_t h = s->heads; h; h &= h - 1) {
		unsigned slot = (unsigned)__builtin_ctzll(h);
		le64_t buf[DIR_RUN_WORDS];
		const void *raw = dir_entry_raw(b, slot, buf);
		struct bucket_entry e;
		int err = bucket_entry_read(b->geo, &b->id, &b->tags, slot, raw, &e);

		if (err)
			return err;
		s->keys[slot] = e.key;
		s->nslots[slot] = e.nslots;
		memcpy(&s->from.slot[slot], raw, e.nslots * sizeof(s->from.slot[0]));
	}
	return 0;
}

/* Those of 'heads' whose key has the given bit at 'depth' (1: the highest). */
static uint64_t dir_split_half(const struct dir_split *s, uint64_t heads, unsigned depth, uint64_t bit)
{
	uint64_t out = 0;

	for (; heads; heads &= heads - 1) {
		unsigned slot = (unsigned)__builtin_ctzll(heads);

		if ((s->keys[slot] >> (64 - depth) & 1) == bit)
			out |= 1ull << slot;
	}
	return out;
}

static unsigned dir_split_slots(const struct dir_split *s, uint64_t heads)
{
	unsigned n = 0;

	for (; heads; heads &= heads - 1)
		n += s->nslots[__builtin_ctzll(heads)];
	return n;
}

/* A fresh bucket with the given entries and, with_new, the new one; and its place in the map.
 * Crash: nothing points to the block until the transaction commits, and commit fences its bytes first. */
static int dir_bucket_make(const struct dir_split *s, unsigned depth, uint64_t prefix, uint64_t heads, bool with_new,
			   mblk_t near)
{
	struct inode_edit *de = s->de;
	struct fs *fs = de->in->fs;
	struct bucket_tags tags = {{0}};
	struct fmt_bucket to;
	struct bucket_id id;
	struct mext x;
	unsigned slot = 0;
	int err = space_alloc(fs->space, de->t, 1, near, SPACE_META, &x);

	if (err)
		return err;
	for (; heads; heads &= heads - 1) {
		unsigned at = (unsigned)__builtin_ctzll(heads), n = s->nslots[at];

		memcpy(&to.slot[slot], &s->from.slot[at], n * sizeof(to.slot[0]));
		bucket_tags_set(&tags, slot, n, bucket_tag_of(s->keys[at]));
		slot += n;
	}
	if (with_new) {
		unsigned n = bucket_nslots(FMT_DIRENT_LEN(s->target));

		memset(&to.slot[slot], 0, n * sizeof(to.slot[0]));
		bucket_entry_write(&fs->geo, de->in->ino, s->key, s->target, s->name, &to.slot[slot]);
		bucket_tags_set(&tags, slot, n, bucket_tag_of(s->key));
		slot += n;
	}
	bucket_tags_seal(&tags);
	id = (struct bucket_id){de->in->ino, de->in->gen, x.first, prefix, depth};
	bucket_head_write(&fs->geo, &id, &tags, &to.head);
	txn_fresh(de->t, x.first);
	txn_copy(de->t, mblk_to_moff(x.first), &to, (uint32_t)(sizeof(to.head) + slot * sizeof(to.slot[0])));
	return map_insert(de, FMT_FORK_DATA, dir_bucket_fblk(depth, prefix), x.first, 1);
}

/* The depth at which the new entry fits beside those that share its bits; over the maximum: never. */
static unsigned dir_split_depth(const struct dir_split *s, unsigned depth)
{
	unsigned need = bucket_nslots(FMT_DIRENT_LEN(s->target));
	uint64_t mine = s->heads;

	while (dir_split_slots(s, mine) + need > FMT_DIR_SLOTS) {
		depth++;
		if (depth > FMT_DIR_MAX_DEPTH)
			break;
		mine = dir_split_half(s, mine, depth, s->key >> (64 - depth) & 1);
	}
	return depth;
}

/* The bucket's place is taken by buckets below it: at each depth on the way down the half that the new key is not in, and at
 * the last one also the half that it is in. */
static int dir_split_run(const struct dir_split *s, const struct bucket_id *old, unsigned last)
{
	struct inode_edit *de = s->de;
	uint64_t mine = s->heads;
	int err;

	for (unsigned d = old->depth + 1; d <= last; d++) {
		uint64_t p = bucket_prefix(s->key, d), bit = p & 1;

		err = dir_bucket_make(s, d, p ^ 1, dir_split_half(s, mine, d, !bit), false, old->blk);
		if (err)
			return err;
		mine = dir_split_half(s, mine, d, bit);
	}
	err = dir_bucket_make(s, last, bucket_prefix(s->key, last), mine, true, old->blk);
	if (err)
		return err;
	if (last > de->img.dir_depth)
		de->img.dir_depth = (uint8_t)last;
	return map_remove(de, FMT_FORK_DATA, dir_bucket_fblk(old->depth, old->prefix), 1);
}

/* Not inlined: it has 8 KiB of stack, which most insertions do not need. */
static __attribute__((noinline)) int dir_split(const struct dir_bucket *b, struct inode_edit *de, uint64_t key,
					       uint64_t target, const char *name)
{
	struct dir_split s;
	unsigned last;
	int err;

	if (txn_is_fresh(de->t, b->id.blk))
		return err_set(-E2BIG, "a second split of one bucket in one transaction");
	dir_split_init(&s, de, key, target, name);
	err = dir_split_gather(b, &s);
	if (err)
		return err;
	last = dir_split_depth(&s, b->id.depth);
	if (last == b->id.depth)
		last++;			/* enough slots, but not in a row */
	if (last > FMT_DIR_MAX_DEPTH)
		return err_set(-ENOSPC, "directory %llu: too many names with one hash",
			       (unsigned long long)de->in->ino.v);
	return dir_split_run(&s, &b->id, last);
}

static __attribute__((noinline)) int dir_bucket_first(struct inode_edit *de, uint64_t key, uint64_t target, const char *name)
{
	struct dir_split s;

	dir_split_init(&s, de, key, target, name);
	return dir_bucket_make(&s, 0, 0, 0, true, moff_to_mblk(de->in->off));
}

/* ---- changes */

static void dir_size_add(struct inode_edit *de, int64_t n)
{
	de->img.size = le64_of(le64_get(de->img.size) + (uint64_t)n);
}

int dir_insert_at(struct inode_edit *de, const struct dir_pos *pos, const char *name, unsigned len, inum_t ino, uint8_t type)
{
	uint64_t key = pos->hash | pos->tie, target = bucket_target(ino, len, type);
	struct dir_bucket b;
	int err = 0, slot;

	HF_ASSERT(!pos->found && len >= 1 && len <= FMT_NAME_MAX);
	if (mblk_is_null(pos->blk)) {
		err = dir_bucket_first(de, key, target, name);
	} else {
		dir_bucket_at(&b, de, pos);
		slot = bucket_free_run(bucket_tags_used(&b.tags), bucket_nslots(len));
		if (slot >= 0)
			dir_bucket_add(&b, (unsigned)slot, key, target, name);
		else
			err = dir_split(&b, de, key, target, name);
	}
	if (!err)
		dir_size_add(de, 1);
	return err;
}

/* Crash: the tags alone make the entry be there or not; its bytes stay. */
int dir_remove_at(struct inode_edit *de, const struct dir_pos *pos)
{
	struct bucket_tags to;
	struct dir_bucket b;

	HF_ASSERT(pos->found);
	if (le64_get(de->img.size) == 0)
		return err_set(-EUCLEAN, "directory %llu: has entries but says that it has none",
			       (unsigned long long)de->in->ino.v);
	dir_bucket_at(&b, de, pos);
	to = b.tags;
	bucket_tags_clear(&to, pos->slot, pos->nslots);
	dir_tags_store(&b, &to);
	dir_size_add(de, -1);
	return 0;
}

/* Target and check; the second word that changes also has the first four bytes of the name. */
int dir_replace_at(struct inode_edit *de, const struct dir_pos *pos, const char *name, unsigned len, inum_t ino, uint8_t type)
{
	moff_t off = bucket_slot_off(pos->blk, pos->slot);
	uint64_t target = bucket_target(ino, len, type);
	le64_t buf[DIR_RUN_WORDS];

	HF_ASSERT(pos->found && FMT_DIRENT_LEN(pos->target) == len);
	bucket_entry_write(&de->in->fs->geo, de->in->ino, pos->key, target, name, buf);
	txn_set64(de->t, moff_add(off, 8), le64_get(buf[1]));
	txn_set64(de->t, moff_add(off, 16), le64_get(buf[2]));
	return 0;
}

int dir_insert(struct inode_edit *de, const char *name, unsigned len, inum_t ino, uint8_t type)
{
	struct dir_pos pos;
	int err = dir_find_edit(de->in, de, name, len, &pos);

	if (err)
		return err;
	if (pos.found)
		return err_set(-EEXIST, "the name exists");
	return dir_insert_at(de, &pos, name, len, ino, type);
}

int dir_remove(struct inode_edit *de, const char *name, unsigned len)
{
	struct dir_pos pos;
	int err = dir_find_edit(de->in, de, name, len, &pos);

	if (err)
		return err;
	return pos.found ? dir_remove_at(de, &pos) : err_set(-ENOENT, "no such name");
}

int dir_replace(struct inode_edit *de, const char *name, unsigned len, inum_t ino, uint8_t type)
{
	struct dir_pos pos;
	int err = dir_find_edit(de->in, de, name, len, &pos);

	if (err)
		return err;
	return pos.found ? dir_replace_at(de, &pos, name, len, ino, type) : err_set(-ENOENT, "no such name");
}

/* ---- for check */

static bool dir_name_ok(const char *name, unsigned len)
{
	if (memchr(name, '/', len) || memchr(name, '\0', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

/* What only check looks at, because it costs: the key is the name's, and no other entry has it. */
static int dir_walk_entry(const struct dir_bucket *b, uint64_t seen, const struct dir_entry *e)
{
	if (!dir_name_ok(e->name, e->len))
		return err_set(-EUCLEAN, "directory %llu: an entry's name is not allowed", (unsigned long long)b->id.dir.v);
	if (bucket_hash(b->geo, e->name, e->len) != (e->key & ~0xffull))
		return err_set(-EUCLEAN, "directory %llu: an entry's key is not its name's", (unsigned long long)b->id.dir.v);
	for (; seen; seen &= seen - 1) {
		const struct fmt_dirent *d = &b->media->slot[__builtin_ctzll(seen)];

		if (le64_get(d->key) == e->key)
			return err_set(-EUCLEAN, "directory %llu: two entries with one key",
				       (unsigned long long)b->id.dir.v);
	}
	return 0;
}

int dir_bucket_walk(const struct pm *pm, const struct geo *geo, inum_t dir, uint64_t gen, unsigned depth, uint64_t prefix,
		    mblk_t blk, int (*fn)(void *ctx, const struct dir_entry *e, int verify_err), void *ctx)
{
	struct dir_bucket b = {.pm = pm, .geo = geo, .id = {dir, gen, blk, prefix, depth}};
	uint64_t heads, seen = 0;
	int err;

	dir_bucket_load(&b);
	err = fmt_bucket_verify(geo, &b.media->head, dir, gen, depth, prefix, blk);
	if (!err)
		err = dir_bucket_verify(&b);
	if (!err)
		err = bucket_tags_verify_runs(&b.id, &b.tags);
	if (err)
		return err;
	for (heads = dir_bucket_heads(&b.tags); heads; heads &= heads - 1) {
		unsigned slot = (unsigned)__builtin_ctzll(heads);
		const struct fmt_dirent *d = &b.media->slot[slot];
		struct dir_entry e = {.ino = INUM(FMT_DIRENT_INO(le64_get(d->target))), .key = le64_get(d->key)};
		struct bucket_entry v;

		err = bucket_entry_read(geo, &b.id, &b.tags, slot, d, &v);
		if (!err) {
			dir_entry_fill(d, &e);
			err = dir_walk_entry(&b, seen, &e);
		}
		seen |= 1ull << slot;
		err = fn(ctx, &e, err);
		if (err)
			return err;
	}
	return 0;
}
