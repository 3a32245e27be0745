/* Opening the table, and the pins of an owner that died (B4).
 *
 * The volume's lock is ours, so who wrote what is in the file is gone, or has unmounted and left
 * orphans of an earlier one. Of the same boot and the same volume: whatever his devices and
 * children may still reach stays busy until somebody says that they are gone. Records are changed
 * where they are: a kill in between leaves each of them either as it was or as an orphan. */
#include "pin/pins.h"
#include "base/error.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static bool orphan_head_ok(const struct fs *fs, const struct pins_head *h)
{
	char boot_id[40];

	pins_boot_id(boot_id);
	return h->magic == PINS_MAGIC && h->version == PINS_VERSION &&
	       h->rec_bytes == sizeof(struct pins_rec) && boot_id[0] != '\0' &&
	       memcmp(h->boot_id, boot_id, sizeof(boot_id)) == 0 &&
	       memcmp(h->uuid, fs->geo.uuid, sizeof(h->uuid)) == 0;
}

/* How many records the file has that this mount is to know of. */
static uint32_t orphan_used(const struct fs *fs, int fd)
{
	struct pins_head h;
	struct stat st;
	uint64_t fits;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)pins_offset(2) ||
	    pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || !orphan_head_ok(fs, &h))
		return 0;
	fits = ((uint64_t)st.st_size - PINS_HEAD_BYTES) / sizeof(struct pins_rec);
	return (uint32_t)min_u64(min_u64(h.used, fits), PINS_INDEX_MAX);
}

/* ---- adopting */

static bool orphan_extent_ok(const struct fs *fs, const struct pins_extent *x)
{
	uint64_t n = pins_blocks(x), max = fs->geo.nblocks;

	if (n == 0 || n > max || x->first > max - n)
		return false;
	if ((x->n & PINS_FRAMES) && (n | x->first) % HF_BLOCKS_PER_FRAME)
		return false;
	return geo_block_ok(&fs->geo, MBLK(x->first)) &&
	       geo_block_ok(&fs->geo, MBLK(x->first + n - 1));
}

/* A record that can have been written by this program. */
static bool orphan_rec_ok(const struct pins_rec *r)
{
	return r->nextents != 0 && r->nextents <= PINS_EXTENTS_MAX && r->len != 0 &&
	       r->off <= INT64_MAX && r->len <= INT64_MAX && r->tag[PINS_TAG_BYTES - 1] == '\0' &&
	       r->name[PINS_NAME_BYTES - 1] == '\0';
}

/* Each block is counted once: 0, or what it could not, with nothing counted. */
static int orphan_count(struct fs *fs, const struct pins_rec *r, struct pins_extent *x)
{
	uint64_t fblk = r->off >> HF_BLOCK_SHIFT;
	int err = 0;

	for (size_t i = 0; i < r->nextents; i++)
		if (!orphan_extent_ok(fs, &x[i]))
			return -EUCLEAN;
	for (size_t i = 0; i < r->nextents && !err; i++) {
		uint64_t n = pins_blocks(&x[i]);

		if (x[i].n & PINS_FRAMES)
			fblk -= fblk % HF_BLOCKS_PER_FRAME;
		x[i].n = n;
		err = space_adopt(fs->space, MBLK(x[i].first), n, INUM(r->ino), FBLK(fblk));
		if (err)
			pins_unpin_extents(fs->space, x, i);
		fblk += n;
	}
	return err;
}

/* From now on its blocks are counted one by one. */
static void orphan_rewrite(struct pins *p, uint32_t index, union pins_any *rec,
			   const struct pins_extent *x)
{
	uint32_t next = rec->rec.next;
	uint64_t generation = pins_generation(rec->rec.state);
	union pins_any c;

	rec->rec.ext = x[0];
	rec->rec.thread = 0;
	rec->rec.flags &= ~(uint32_t)PINS_LEASED;
	pins_write(p, index, rec);
	for (size_t at = 1; at < rec->rec.nextents; next = c.chunk.next) {
		pins_read(p, next, 0, &c);
		for (unsigned k = 0; k < PINS_CHUNK_MAX && at < rec->rec.nextents; k++)
			c.chunk.ext[k] = x[at++];
		pins_write(p, next, &c);
	}
	pins_publish(p, index, pins_state_make(generation, PINS_ORPHAN));
}

/* The chain has as many chunks as the extents need, each once; they are marked. pins_extents() has
 * seen that each is a chunk of this record (I-PIN-8). */
static bool orphan_mark_chunks(const struct pins *p, const struct pins_rec *r, uint8_t *in_use)
{
	uint32_t next = r->next, again = r->next;
	size_t at = 1, marked;

	for (; at < r->nextents && next && !in_use[next]; at += PINS_CHUNK_MAX) {
		in_use[next] = 1;
		next = atomic_load(pins_u32(p, next, offsetof(struct pins_chunk, next)));
	}
	if (at >= r->nextents && next == 0)
		return true;
	for (marked = 1; marked < at; marked += PINS_CHUNK_MAX) {
		in_use[again] = 0;
		again = atomic_load(pins_u32(p, again, offsetof(struct pins_chunk, next)));
	}
	return false;
}

/* If it is an orphan now, it and its chunks are marked in in_use. */
static int orphan_adopt(struct fs *fs, struct pins *p, uint32_t index, uint8_t *in_use)
{
	uint64_t state = pins_state(p, index);
	struct pins_extent *x;
	union pins_any rec;
	int err;

	pins_read(p, index, state, &rec);
	if (!orphan_rec_ok(&rec.rec))
		return 0;
	err = pins_extents(p, index, &rec, NULL, 0, &x);
	if (err)
		return err == -ENOMEM ? err : 0;
	err = orphan_count(fs, &rec.rec, x);
	if (!err && !orphan_mark_chunks(p, &rec.rec, in_use)) {
		pins_unpin_extents(fs->space, x, rec.rec.nextents);
	} else if (!err) {
		orphan_rewrite(p, index, &rec, x);
		in_use[index] = 1;
		atomic_fetch_add(&p->orphans, 1);
	}
	free(x);
	return err == -ENOMEM ? err : 0;
}

static bool orphan_was_live(uint64_t state)
{
	enum pins_state s = pins_state_of(state);

	return s == PINS_TAKING || s == PINS_LIVE || s == PINS_DROPPING || s == PINS_ORPHAN;
}

int pins_adopt(struct fs *fs, struct pins *p, uint32_t used)
{
	uint8_t *in_use = calloc(1, (size_t)used + 1);
	int err = 0;

	if (!in_use)
		return err_set(-ENOMEM, "out of memory");
	for (uint32_t i = 1; i <= used && !err; i++)
		if (orphan_was_live(pins_state(p, i)))
			err = orphan_adopt(fs, p, i, in_use);
	for (uint32_t i = 1; i <= used && !err; i++)
		if (in_use[i])
			p->priv[i].shard = (uint8_t)(i % PINS_SHARDS);
		else
			pins_put_unused(p, i);
	free(in_use);
	return err ? err_set(err, "no memory for the pins that a dead owner left") : 0;
}

static void orphan_release(struct fs *fs, uint32_t index)
{
	struct pins *p = fs->pins;
	uint32_t next;
	union pins_any rec;
	size_t left;

	pins_read(p, index, 0, &rec);
	pins_unpin_extents(fs->space, &rec.rec.ext, 1);
	next = rec.rec.next;
	for (left = rec.rec.nextents - 1; left;) {
		size_t n = left < PINS_CHUNK_MAX ? left : PINS_CHUNK_MAX;
		uint32_t this = next;
		union pins_any c;

		pins_read(p, this, 0, &c);
		pins_unpin_extents(fs->space, c.chunk.ext, n);
		next = c.chunk.next;
		left -= n;
	}
	for (next = rec.rec.next; next;) {
		uint32_t this = next;

		next = atomic_load(pins_u32(p, this, offsetof(struct pins_chunk, next)));
		pins_put(p, this, false);
	}
	atomic_fetch_sub(&p->orphans, 1);
	pins_put(p, index, false);
}

uint64_t pin_release_orphans(struct fs *fs)
{
	struct pins *p = fs->pins;
	uint64_t n = 0;

	for (uint32_t i = 1; i <= atomic_load(&p->used) && atomic_load(&p->orphans); i++) {
		uint64_t state = pins_state(p, i);

		if (pins_state_of(state) != PINS_ORPHAN ||
		    !atomic_compare_exchange_strong(
			pins_words(p, i), &state,
			pins_state_make(pins_generation(state), PINS_DROPPING)))
			continue;
		orphan_release(fs, i);
		n++;
	}
	return n;
}

/* ---- opening */

static void head_write(const struct fs *fs, struct pins *p)
{
	struct pins_head *h = (void *)p->base;
	char boot_id[sizeof(h->boot_id)];

	pins_boot_id(boot_id);
	/* A new file has no magic before the end. An old one keeps its own throughout: whoever is
	 * killed here leaves a file that still names its orphans. */
	h->version = PINS_VERSION;
	h->rec_bytes = sizeof(struct pins_rec);
	memcpy(h->uuid, fs->geo.uuid, sizeof(h->uuid));
	h->pid = (uint64_t)getpid();
	h->start = pins_start_of(h->pid);
	memcpy(h->boot_id, boot_id, sizeof(boot_id)); /* in an old file: what is there */
	memset(h->path, 0, sizeof(h->path));
	memcpy(h->path, fs->pm->path, strnlen(fs->pm->path, sizeof(h->path) - 1));
	atomic_store(&h->used, atomic_load(&p->used));
	atomic_store(&h->magic, PINS_MAGIC);
}

static bool file_is_ours(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
}

/* An old file that says something, or a new one. -1: none can be made. */
static int file_open(const struct fs *fs, int dir, const char *name, uint32_t *used)
{
	int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	*used = 0;
	if (fd >= 0 && file_is_ours(fd))
		*used = orphan_used(fs, fd);
	if (*used)
		return fd;
	if (fd >= 0)
		close(fd);
	unlinkat(dir, name, 0);
	return openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
}

/* The file of the volume; *used: how many records of a dead owner it has. -1: there is none. */
static int pins_file_open(const struct fs *fs, struct pins_file_name *name, uint32_t *used)
{
	struct stat st;
	int dir, fd;

	*used = 0;
	if (fs->pm->member[0].fd < 0 || fstat(fs->pm->member[0].fd, &st) < 0)
		return -1;
	pins_file_name(&st, name);
	dir = pins_dir_open();
	if (dir < 0)
		return -1;
	fd = file_open(fs, dir, name->s, used);
	close(dir);
	return fd;
}

static void pins_file_remove(const char *name)
{
	int dir = pins_dir_open();

	if (dir < 0)
		return;
	unlinkat(dir, name, 0);
	close(dir);
}

/* A process that cannot make its table has its pins all the same. */
static struct pins *pins_new_somewhere(int fd, uint32_t used, const char *name)
{
	struct pins *p = pins_new(fd, used);

	if (p || fd < 0 || used)
		return p;
	close(fd);
	pins_file_remove(name);
	return pins_new(-1, 0);
}

int pins_open(struct fs *fs, bool publish)
{
	struct pins_file_name name = {{0}};
	uint32_t used = 0;
	int fd = publish ? pins_file_open(fs, &name, &used) : -1, err = 0;
	struct pins *p = pins_new_somewhere(fd, used, name.s);

	err_clear();
	if (!p) {
		if (fd >= 0)
			close(fd);
		return err_set(-ENOMEM, "no memory for the table of pins");
	}
	memcpy(p->file, name.s, sizeof(p->file));
	if (used)
		err = pins_adopt(fs, p, used);
	if (err) {
		close(p->fd);
		pins_free(p);
		return err;
	}
	head_write(fs, p);
	fs->pins = p;
	return 0;
}

void pins_close(struct fs *fs)
{
	struct pins *p = fs->pins;
	struct pins_head *h;

	if (!p)
		return;
	pins_notifier_stop(p);
	h = (void *)p->base;
	h->pid = 0;
	if (p->fd >= 0) {
		close(p->fd);
		if (atomic_load(&p->orphans) == 0)
			pins_file_remove(p->file);
	}
	pins_free(p);
}

bool pins_published(const struct fs *fs)
{
	return fs->pins && fs->pins->fd >= 0;
}
