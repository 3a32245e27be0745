#include "system/damage.h"
#include "dir/bucket.h"
#include "journal/journal.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

const char *const object_names[OBJ_KINDS] = {
	"superblock", "checkpoint word", "journal record", "allocation line", "inode table map", "inode table bitmap", "inode", "map entry",
	"huge leaf", "map node", "directory bucket", "bucket tags", "directory entry", "orphan slot", "attributes",
};

static void must(int64_t ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "damage: %s: %s\n", what, hf_errormsg());
	exit(1);
}
#define MUST(call) must((call), #call)

/* ---- filling */

static void fill_bytes(uint8_t *p, size_t len, uint64_t seed)
{
	size_t i;

	for (i = 0; i < len; i += 8) {
		uint64_t x = hash_mix2(seed, i);

		memcpy(p + i, &x, min_u64(8, len - i));
	}
}

static void put_file(hf_volume *vol, const char *path, uint64_t off, size_t len, uint64_t seed)
{
	uint8_t *p = malloc(len + 8);
	hf_file *f;

	fill_bytes(p, len, seed);
	MUST(hf_open(vol, path, HF_O_RDWR | HF_O_CREAT, 0644, &f));
	must(hf_pwrite(f, p, len, off) == (int64_t)len ? 0 : -1, path);
	MUST(hf_close(&f));
	free(p);
}

/* Names of all lengths, so that several buckets and runs of slots come into being. */
static void fill_names(hf_volume *vol, const char *dir, unsigned n)
{
	char path[512], name[256];
	unsigned i;

	for (i = 0; i < n; i++) {
		memset(name, 'a' + (int)(i % 26), sizeof(name));
		snprintf(name + 1 + i * 7 % 200, 16, "%u", i);
		snprintf(path, sizeof(path), "%s/%s", dir, name);
		put_file(vol, path, 0, 1 + i * 37 % 300, i);
	}
}

static void fill_files(hf_volume *vol)
{
	char path[64];
	unsigned i;

	for (i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "/f%u", i);
		put_file(vol, path, 0, i % 3 ? i * 531 + 1 : i + 1, 100 + i);
	}
	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/sparse%u", i);
		put_file(vol, path, 0, 5000, 200 + i);
		put_file(vol, path, 3ull << (21 + 4 * i), 20000, 300 + i);
	}
	put_file(vol, "/huge0", 0, 4u << 20, 400);
	put_file(vol, "/huge1", 0, (2u << 20) + 12345, 401);
	for (i = 0; i < 60; i++)	/* many blocks that do not follow each other */
		put_file(vol, i % 2 ? "/frag1" : "/frag0", (uint64_t)i * 4096, 4096, 500 + i);
}

static void fill_rest(hf_volume *vol)
{
	char path[512], value[9000];
	unsigned i;

	for (i = 0; i < 12; i++) {
		snprintf(path, sizeof(path), "/f%u", i);
		fill_bytes((uint8_t *)value, sizeof(value), i);
		MUST(hf_setxattr(vol, path, "user.one", value, i * 700 + 1, 0));
		MUST(hf_setxattr(vol, path, "user.two", value, 100, 0));
	}
	memset(value, 'x', 3000);
	value[3000] = '\0';
	MUST(hf_symlink(vol, "f1", "/short"));
	MUST(hf_symlink(vol, value, "/long"));
	MUST(hf_mknod(vol, "/fifo", S_IFIFO | 0600, 0));
	MUST(hf_mknod(vol, "/dev", S_IFCHR | 0600, makedev(1, 3)));
	MUST(hf_mkdir(vol, "/A", 0755));
	MUST(hf_mkdir(vol, "/A/B", 0755));
	MUST(hf_mkdir(vol, "/A/B/C", 0755));
	MUST(hf_mkdir(vol, "/D", 0755));
	MUST(hf_mkdir(vol, "/D/E", 0755));
	MUST(hf_mkdir(vol, "/empty", 0755));
	fill_names(vol, "/A", 250);
	fill_names(vol, "/A/B", 40);
	fill_names(vol, "/A/B/C", 10);
	fill_names(vol, "/D/E", 70);
	MUST(hf_link(vol, "/f1", "/A/link"));
	MUST(hf_link(vol, "/f1", "/D/link"));
	for (i = 0; i < 250; i += 3) {	/* removed names stay in free slots */
		snprintf(path, sizeof(path), "/D/gone%u", i);
		put_file(vol, path, 0, 10, i);
		MUST(hf_unlink(vol, path));
	}
}

static void copy_file(const char *from, const char *to, uint64_t bytes)
{
	int in = open(from, O_RDONLY), out = open(to, O_RDWR | O_CREAT | O_TRUNC, 0600);
	void *p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, in, 0);

	must(in >= 0 && out >= 0 && p != MAP_FAILED && write(out, p, bytes) == (ssize_t)bytes ? 0 : -1, "copy");
	munmap(p, bytes);
	close(in);
	close(out);
}

void damage_fill(const char *path, uint64_t bytes, bool crashed)
{
	struct hf_format_options fo = {.struct_size = sizeof(fo), .bytes = bytes, .force = true, .sparse = true};
	char copy[300];
	hf_volume *vol;
	hf_file *f, *g;

	MUST(hf_format(path, &fo));
	MUST(hf_mount(&vol, path, NULL));
	fill_files(vol);
	fill_rest(vol);
	if (crashed) {
		put_file(vol, "/unlinked", 0, 100000, 7);
		MUST(hf_open(vol, "/unlinked", HF_O_RDWR, 0, &f));
		MUST(hf_unlink(vol, "/unlinked"));
		put_file(vol, "/unlinked2", 0, 100, 7);
		MUST(hf_open(vol, "/unlinked2", HF_O_RDWR, 0, &g));
		MUST(hf_unlink(vol, "/unlinked2"));
		snprintf(copy, sizeof(copy), "%s.copy", path);
		copy_file(path, copy, bytes);
		MUST(hf_close(&f));
		MUST(hf_close(&g));
	}
	MUST(hf_unmount(&vol));
	if (crashed)
		must(rename(copy, path), "rename");
}

/* ---- walking */

static int read_file(hf_volume *vol, struct hf_id id, struct known *k)
{
	static uint8_t buf[1 << 20];
	int64_t at = 0, n = 0;
	hf_file *f;
	int err = hf_inode_open(vol, id, HF_O_RDONLY, &f);

	while (!err) {		/* data only: sparse files are large */
		at = hf_seek(f, (uint64_t)at, SEEK_DATA);
		if (at < 0)
			break;
		n = hf_pread(f, buf, sizeof(buf), (uint64_t)at);
		if (n <= 0)
			break;
		while (n > 0 && buf[n - 1] == 0)	/* where a hole begins may differ */
			n--;
		k->hash = hash_mix2(k->hash, (uint64_t)at) + hash_bytes(buf, (size_t)n, 0);
		at += (int64_t)sizeof(buf);
	}
	if (err)
		return err;
	err = n < 0 ? (int)n : (at < 0 && at != -ENXIO ? (int)at : 0);
	(void)hf_close(&f);
	return err;
}

static int read_one(hf_volume *vol, const struct hf_stat *st, struct known *k)
{
	char buf[70000], list[4096];
	ssize_t n, got;
	char *p;

	k->ino = st->id.ino;
	k->mode = st->mode;
	k->size = S_ISDIR(st->mode) ? 0 : st->size;
	n = hf_inode_listxattr(vol, st->id, list, sizeof(list));
	if (n < 0)
		return (int)n;
	for (p = list; p < list + n; p += strlen(p) + 1) {
		got = hf_inode_getxattr(vol, st->id, p, buf, sizeof(buf));
		if (got < 0)
			return (int)got;
		k->hash += hash_bytes(buf, (size_t)got, 1);
	}
	if (S_ISLNK(st->mode)) {
		n = hf_inode_readlink(vol, st->id, buf, sizeof(buf));
		if (n < 0)
			return (int)n;
		k->hash += hash_bytes(buf, (size_t)n, 2);
	}
	return S_ISREG(st->mode) ? read_file(vol, st->id, k) : 0;
}

static struct known *manifest_add(struct manifest *m)
{
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 1024;
		m->v = realloc(m->v, m->cap * sizeof(*m->v));
		must(m->v ? 0 : -1, "memory");
	}
	m->v[m->n] = (struct known){0};
	return &m->v[m->n++];
}

/* The manifest is the queue: directories are read when their turn comes. */
int damage_walk(hf_volume *vol, struct manifest *m)
{
	struct hf_dirent d;
	struct hf_stat st;
	struct hf_id root;
	hf_dir *dir;
	uint64_t at;
	int err = hf_inode_root(vol, &root);

	if (!err)
		err = hf_inode_stat(vol, root, &st);
	if (!err)
		err = read_one(vol, &st, manifest_add(m));
	for (at = 0; at < m->n && !err; at++) {
		if (!S_ISDIR(m->v[at].mode))
			continue;
		err = hf_inode_stat(vol, (struct hf_id){.ino = m->v[at].ino}, &st);
		if (!err)
			err = hf_inode_opendir(vol, st.id, &dir);
		while (!err && (err = hf_readdir(dir, &d)) == 1) {
			err = 0;
			if (!strcmp(d.name, ".") || !strcmp(d.name, ".."))
				continue;
			err = hf_inode_lookup(vol, (struct hf_id){m->v[at].ino, 0}, d.name, &st);
			if (err == -ESTALE)
				err = hf_inode_stat(vol, (struct hf_id){.ino = d.ino}, &st);
			if (!err) {
				struct known *k = manifest_add(m);

				snprintf(k->path, sizeof(k->path), "%.80s/%.60s", m->v[at].path, d.name);
				err = read_one(vol, &st, k);
			}
		}
		if (!err)
			err = hf_closedir(&dir);
	}
	return err;
}

struct known *damage_known(struct manifest *m, uint64_t ino)
{
	uint64_t i;

	for (i = 0; i < m->n; i++)
		if (m->v[i].ino == ino)
			return &m->v[i];
	return NULL;
}

/* ---- what lies in an image */

void image_open(struct image *im, const void *bytes, uint64_t size)
{
	memset(im, 0, sizeof(*im));
	im->size = size;
	im->bytes = aligned_alloc(HF_FRAME_SIZE, size);
	must(im->bytes ? 0 : -1, "memory");
	memcpy(im->bytes, bytes, size);
	MUST(pm_open_memory(im->bytes, size, NULL, &im->pm));
	MUST(geo_read(im->pm, &im->geo));
	im->owner = calloc(im->geo.nblocks, sizeof(*im->owner));
}

void image_close(struct image *im)
{
	pm_close(&im->pm);
	free(im->bytes);
	free(im->obj);
	free(im->owner);
}

static struct object *add(struct image *im, enum object_kind kind, uint64_t off, uint64_t len, uint64_t ino)
{
	if (im->n == im->cap) {
		im->cap = im->cap ? 2 * im->cap : 4096;
		im->obj = realloc(im->obj, im->cap * sizeof(*im->obj));
		must(im->obj ? 0 : -1, "memory");
	}
	im->obj[im->n] = (struct object){.kind = kind, .off = off, .len = len, .ino = ino};
	return &im->obj[im->n++];
}

struct list_ctx {
	struct image *im;
	uint64_t ino;
	enum fmt_fork fork;
	bool dir;
};

static void list_bucket(struct image *im, uint64_t ino, uint64_t at)
{
	const struct fmt_bucket *b = (const void *)(im->bytes + at);
	struct bucket_tags tags;
	unsigned slot;

	add(im, OBJ_BUCKET, at, HF_BLOCK_SIZE, ino);
	add(im, OBJ_TAGS, at + offsetof(struct fmt_bucket_head, tag), 64, ino);
	bucket_tags_load(&b->head, &tags);
	for (slot = 0; slot < FMT_DIR_SLOTS; slot++)
		if (bucket_tag(&tags, slot) > FMT_TAG_MORE)
			add(im, OBJ_DIRENT, at + offsetof(struct fmt_bucket, slot) + slot * FMT_DIR_SLOT,
			    BUCKET_HEAD_BYTES + FMT_DIRENT_LEN(le64_get(b->slot[slot].target)), ino);
}

static int list_entry(void *ctx, const struct map_visit *v)
{
	struct list_ctx *l = ctx;
	enum fmt_entry_kind kind = fmt_entry_kind_of(v->entry);
	uint64_t b = fmt_entry_blk(v->entry).v, n = kind == FMT_ENT_HUGE ? HF_BLOCKS_PER_FRAME : 1, i;
	struct object *o;

	for (i = 0; i < n; i++)
		l->im->owner[b + i] = (uint32_t)l->ino;
	if (v->where.v) {
		o = add(l->im, l->ino == FMT_INO_ITABLE ? OBJ_ITMAP : kind == FMT_ENT_HUGE ? OBJ_HUGE : OBJ_ENTRY, v->where.v, 8, l->ino);
		o->fblk = v->fblk.v;
		o->level = v->level;
		o->fork = l->fork;
	}
	if (kind == FMT_ENT_NODE)
		add(l->im, l->ino == FMT_INO_ITABLE ? OBJ_ITMAP : OBJ_NODE, b << HF_BLOCK_SHIFT, HF_BLOCK_SIZE, l->ino);
	else if (l->fork == FMT_FORK_XATTR)
		add(l->im, OBJ_XATTR, b << HF_BLOCK_SHIFT, 512, l->ino);
	else if (l->dir)
		list_bucket(l->im, l->ino, b << HF_BLOCK_SHIFT);
	return 0;
}

static void list_inode(struct image *im, uint64_t at)
{
	const struct fmt_inode *i = (const void *)(im->bytes + at);
	uint64_t ino = le64_get(i->ino);
	struct list_ctx l = {im, ino, FMT_FORK_DATA, S_ISDIR(le32_get(i->mode))};

	if (le32_get(i->mode) == 0)
		return;
	add(im, OBJ_INODE, at, FMT_INODE_SIZE, ino);
	map_walk(im->pm, &im->geo, INUM(ino), FMT_FORK_DATA, le64_get(i->root), i->height, list_entry, &l);
	l.fork = FMT_FORK_XATTR;
	map_walk(im->pm, &im->geo, INUM(ino), FMT_FORK_XATTR, le64_get(i->xroot), i->xheight, list_entry, &l);
}

static int list_table(void *ctx, const struct map_visit *v)
{
	struct image *im = ctx;
	uint64_t at = fmt_entry_blk(v->entry).v << HF_BLOCK_SHIFT, k;

	if (fmt_entry_kind_of(v->entry) != FMT_ENT_BLOCK)
		return 0;
	if (v->fblk.v % FMT_IGROUP_BLOCKS == 0)
		add(im, OBJ_ITBITMAP, at, 256, 0);
	else
		for (k = 0; k < FMT_INODES_PER_BLOCK; k++)
			list_inode(im, at + k * FMT_INODE_SIZE);
	return 0;
}

static int list_record(void *ctx, uint32_t lane, uint32_t half, uint64_t off, const struct fmt_record *r)
{
	struct image *im = ctx;

	add(im, OBJ_JOURNAL, im->geo.lanes_off.v + lane * im->geo.lane_bytes + half * im->geo.lane_bytes / 2 + off, le32_get(r->bytes), 0);
	return 0;
}

void image_list(struct image *im)
{
	const struct fmt_inode *it = (const void *)(im->bytes + FMT_BLK_INODES0 * HF_BLOCK_SIZE + FMT_INO_ITABLE * FMT_INODE_SIZE);
	uint64_t i;

	add(im, OBJ_SUPER, 0, HF_BLOCK_SIZE, 0);
	add(im, OBJ_SUPER, im->geo.bytes - HF_BLOCK_SIZE, HF_BLOCK_SIZE, 0);
	add(im, OBJ_CKPT, FMT_BLK_CKPT0 * HF_BLOCK_SIZE, 8, 0);
	add(im, OBJ_CKPT, FMT_BLK_CKPT1 * HF_BLOCK_SIZE, 8, 0);
	for (i = 0; i < im->geo.nframes; i++)
		add(im, OBJ_LINE, im->geo.alloc_off.v + i * HF_LINE, HF_LINE, 0);
	map_walk(im->pm, &im->geo, INUM(FMT_INO_ITABLE), FMT_FORK_DATA, le64_get(it->root), it->height, list_table, im);
	for (i = 0; i < FMT_ORPHANS_PER_BLOCK; i++)
		add(im, OBJ_ORPHAN, FMT_BLK_ORPHANS0 * HF_BLOCK_SIZE + i * 64, 64, 0)->slot = (uint32_t)i;
	(void)journal_walk(im->pm, &im->geo, list_record, im);
}

const struct object *image_pick(const struct image *im, enum object_kind kind, uint64_t i)
{
	uint64_t n = 0, k;

	for (k = 0; k < im->n; k++)
		n += im->obj[k].kind == kind;
	if (!n)
		return NULL;
	i %= n;
	for (k = 0; im->obj[k].kind != kind || i--; k++)
		;
	return &im->obj[k];
}

/* ---- sealing */

static void seal_entry(struct image *im, const struct object *o)
{
	le64_t *w = (void *)(im->bytes + o->off);
	uint64_t low = le64_get(*w) & 0xffffffffffffull;

	*w = le64_of(low | fmt_entry_check(fmt_map_key(&im->geo, INUM(o->ino), o->fork), o->level, FBLK(o->fblk), low));
}

static void seal_bucket(struct image *im, uint64_t at)
{
	struct fmt_bucket_head *h = (void *)(im->bytes + at);
	struct bucket_tags t;
	unsigned i;

	bucket_tags_load(h, &t);
	bucket_tags_seal(&t);
	for (i = 0; i < 8; i++) {
		le64_t w = le64_of(t.w[i]);

		memcpy(&h->tag[8 * i], &w, 8);
	}
	h->csum = le64_of(fmt_bucket_csum(&im->geo, h));
}

void object_seal(struct image *im, const struct object *o)
{
	void *p = im->bytes + o->off;

	switch (o->kind) {
	case OBJ_SUPER:
		((struct fmt_super *)p)->csum = le64_of(geo_super_csum(p));
		break;
	case OBJ_INODE:
		((struct fmt_inode *)p)->csum = le64_of(fmt_inode_csum(&im->geo, p));
		break;
	case OBJ_ENTRY:
	case OBJ_HUGE:
	case OBJ_ITMAP:
		if (o->len == 8)
			seal_entry(im, o);
		break;
	case OBJ_BUCKET:
		seal_bucket(im, o->off);
		break;
	case OBJ_TAGS:
		seal_bucket(im, o->off & ~(uint64_t)(HF_BLOCK_SIZE - 1));
		break;
	case OBJ_DIRENT: {
		struct fmt_dirent *d = p;
		uint64_t target = le64_get(d->target);

		d->check = le32_of(fmt_dirent_check(&im->geo, INUM(o->ino), le64_get(d->key), target, (uint8_t *)p + BUCKET_HEAD_BYTES,
						    FMT_DIRENT_LEN(target)));
		break;
	}
	case OBJ_ORPHAN:
		((struct fmt_orphan *)p)->csum = le64_of(fmt_orphan_csum(&im->geo, o->slot, p));
		break;
	case OBJ_XATTR:
		((struct fmt_xattr_head *)p)->csum =
			le64_of(fmt_xattr_csum(&im->geo, INUM(o->ino), p, (uint32_t)min_u64(le32_get(((struct fmt_xattr_head *)p)->bytes), 4096)));
		break;
	default:
		break;
	}
}

/* ---- who is hit */

/* A file stands in the manifest once for each of its names. */
static void hit_inode(struct manifest *m, uint64_t ino)
{
	uint64_t i;

	for (i = 0; i < m->n; i++)
		if (m->v[i].ino == ino)
			m->v[i].hit = true;
}

void damage_hits(const struct image *im, struct manifest *m, uint64_t off, uint64_t len)
{
	uint64_t i, b;

	for (b = off >> HF_BLOCK_SHIFT; b <= (off + len - 1) >> HF_BLOCK_SHIFT; b++)
		hit_inode(m, im->owner[b]);
	for (i = 0; i < im->n; i++) {
		const struct object *o = &im->obj[i];

		if (o->kind == OBJ_INODE && o->off < off + len && off < o->off + o->len)
			hit_inode(m, o->ino);
	}
}
