/* Looking at the table of another process. It is at work meanwhile and may even have left damage:
 * everything is read with pread into memory of our own, and believed only where it checks out. */
#include "pin/table.h"
#include "base/clock.h"
#include "base/error.h"
#include "media/pm_lock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_TRIES 100

struct reader {
	int fd;
	uint64_t used;
	uint64_t now_ns;
	struct pins_extent *ext;
	size_t room;
};

union read_any {
	struct pins_rec rec;
	struct pins_chunk chunk;
};

static bool read_at(int fd, void *to, size_t len, uint64_t off)
{
	return pread(fd, to, len, (off_t)off) == (ssize_t)len;
}

static bool read_state_is(const struct reader *r, uint64_t index, uint64_t state)
{
	uint64_t now;

	return read_at(r->fd, &now, sizeof(now), pins_offset((uint32_t)index)) && now == state;
}

static bool read_room(struct reader *r, size_t n)
{
	struct pins_extent *x;

	if (n <= r->room)
		return true;
	x = realloc(r->ext, n * sizeof(*x));
	if (!x)
		return false;
	r->ext = x;
	r->room = n;
	return true;
}

/* The pin's extents are in r->ext. */
static bool read_chunks(struct reader *r, uint32_t index, const struct pins_rec *rec)
{
	uint32_t next = rec->next;
	struct pins_chunk c;
	size_t at = 1;

	if (rec->nextents == 0 || rec->nextents > PINS_EXTENTS_MAX || !read_room(r, rec->nextents))
		return false;
	r->ext[0] = rec->ext;
	while (at < rec->nextents) {
		if (next == 0 || next > r->used ||
		    !read_at(r->fd, &c, sizeof(c), pins_offset(next)))
			return false;
		if (pins_state_of(c.state) != PINS_CHUNK || c.head != index)
			return false;
		for (unsigned k = 0; k < PINS_CHUNK_MAX && at < rec->nextents; k++)
			r->ext[at++] = c.ext[k];
		next = c.next;
	}
	return true;
}

static bool read_shown(uint64_t state)
{
	enum pins_state s = pins_state_of(state);

	return s == PINS_TAKING || s == PINS_LIVE || s == PINS_DROPPING || s == PINS_ORPHAN;
}

/* 1: *rec and r->ext are one pin's; 0: there is none here, or it is no longer what it was. */
static bool read_rec(struct reader *r, uint32_t index, struct pins_rec *rec)
{
	for (int i = 0; i < READ_TRIES; i++) {
		if (!read_at(r->fd, rec, sizeof(*rec), pins_offset(index)) ||
		    !read_shown(rec->state))
			return false;
		if (read_chunks(r, index, rec) && read_state_is(r, index, rec->state))
			return true;
		if (read_state_is(r, index, rec->state))
			return false;
	}
	return false;
}

static int read_show(struct reader *r, uint32_t index, const struct pins_rec *rec,
		     int (*fn)(void *ctx, const struct pins_entry *e), void *ctx)
{
	struct pins_entry e = {
	    .id = pins_generation(rec->state) << PINS_INDEX_BITS | index,
	    .ino = rec->ino,
	    .gen = rec->gen,
	    .off = rec->off,
	    .len = rec->len,
	    .age_ns = r->now_ns > rec->since_ns ? r->now_ns - rec->since_ns : 0,
	    .flags = rec->flags,
	    .thread = rec->thread,
	    .orphaned = pins_state_of(rec->state) == PINS_ORPHAN,
	    .ext = r->ext,
	    .n = rec->nextents,
	};

	memcpy(e.tag, rec->tag, sizeof(e.tag) - 1);
	memcpy(e.name, rec->name, sizeof(e.name) - 1);
	return fn(ctx, &e);
}

static int read_records(struct reader *r, int (*fn)(void *ctx, const struct pins_entry *e),
			void *ctx)
{
	struct pins_rec rec;
	int ret = 0;

	for (uint32_t i = 1; i <= r->used && ret == 0; i++)
		if (read_rec(r, i, &rec))
			ret = read_show(r, i, &rec, fn, ctx);
	return ret;
}

/* ---- whose it is */

static bool read_is_stale(const struct pins_head *h, const uint8_t uuid[16])
{
	char boot_id[40];

	pins_boot_id(boot_id);
	return memcmp(boot_id, h->boot_id, sizeof(boot_id)) != 0 ||
	       (uuid && memcmp(uuid, h->uuid, sizeof(h->uuid)) != 0);
}

static void read_owner(const struct pins_head *h, const uint8_t uuid[16], struct pins_owner *out)
{
	memset(out, 0, sizeof(*out));
	out->pid = h->pid;
	memcpy(out->path, h->path, sizeof(out->path) - 1);
	if (read_is_stale(h, uuid))
		out->state = PINS_OWNER_STALE;
	else if (h->pid == 0)
		out->state = PINS_OWNER_NONE;
	else
		out->state = pins_start_of(h->pid) == h->start ? PINS_OWNER_ALIVE : PINS_OWNER_DEAD;
}

static int read_head(struct reader *r, struct pins_head *h)
{
	struct stat st;
	uint64_t fits;

	if (fstat(r->fd, &st) < 0 || !S_ISREG(st.st_mode) || !read_at(r->fd, h, sizeof(*h), 0) ||
	    h->magic != PINS_MAGIC || h->version != PINS_VERSION ||
	    h->rec_bytes != sizeof(struct pins_rec) || st.st_size < PINS_HEAD_BYTES)
		return err_set(-EBADMSG, "the table of pins is damaged or of another version");
	fits = ((uint64_t)st.st_size - PINS_HEAD_BYTES) / sizeof(struct pins_rec);
	r->used = min_u64(min_u64(h->used, fits), PINS_INDEX_MAX);
	return 0;
}

static int read_file(int fd, const uint8_t uuid[16], struct pins_owner *owner,
		     int (*fn)(void *ctx, const struct pins_entry *e), void *ctx)
{
	struct reader r = {.fd = fd};
	struct pins_head h;
	int ret = read_head(&r, &h);

	if (ret)
		return ret;
	read_owner(&h, uuid, owner);
	if (owner->state == PINS_OWNER_STALE)
		return 0;
	r.now_ns = clock_mono_ns();
	ret = read_records(&r, fn, ctx);
	free(r.ext);
	return ret;
}

/* ---- finding it */

static uid_t read_owner_uid(const struct stat *volume)
{
	pid_t pid = pm_lock_owner(volume->st_dev, volume->st_ino);
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%ld", (long)pid);
	return pid > 0 && stat(path, &st) == 0 ? st.st_uid : geteuid();
}

static int read_find_for(const char *name, uid_t uid)
{
	for (unsigned which = 0; which < PINS_DIRS; which++) {
		int fd, dir = pins_dir_look(which, uid);

		if (dir < 0)
			continue;
		fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		close(dir);
		if (fd >= 0)
			return fd;
	}
	return -ENOENT;
}

int pins_table_read(const char *device, const uint8_t uuid[16], struct pins_owner *owner,
		    int (*fn)(void *ctx, const struct pins_entry *e), void *ctx)
{
	struct pins_file_name name;
	struct stat st;
	int fd, ret;

	if (stat(device, &st) < 0)
		return err_set(-errno, "%s: %s", device, strerror(errno));
	pins_file_name(&st, &name);
	fd = read_find_for(name.s, geteuid());
	if (fd < 0)
		fd = read_find_for(name.s, read_owner_uid(&st));
	if (fd < 0)
		return err_set(-ENOENT, "%s: nobody has published pins of it", device);
	ret = read_file(fd, uuid, owner, fn, ctx);
	close(fd);
	return ret;
}
