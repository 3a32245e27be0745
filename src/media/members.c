/* Several devices as one volume: their names, their locks, their places in the map. */
#include "media/guard.h"
#include "media/pm_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMBERS_SIZE_MIN (2 * (uint64_t)HF_FRAME_SIZE)

/* ---- names */

int pm_names(const char *path, struct pm_names *out)
{
	char *at;

	*out = (struct pm_names){.text = strdup(path)};
	if (!out->text)
		return err_set(-ENOMEM, "%s: no memory", path);
	out->name[out->n++] = at = out->text;
	if (!strchr(path, ':') || access(path, F_OK) == 0)
		return 0;
	for (at = strchr(at, ':'); at && out->n < PM_MEMBERS_MAX; at = strchr(at, ':')) {
		*at++ = '\0';
		out->name[out->n++] = at;
	}
	for (unsigned int i = 0; i < out->n && !at; i++)
		if (*out->name[i] == '\0')
			at = out->text;
	if (!at)
		return 0;
	pm_names_free(out);
	return err_set(-EINVAL, "%s: a volume is up to %u devices or files, named A:B, none of them empty (and there is no file of that name)",
		       path, PM_MEMBERS_MAX);
}

void pm_names_free(struct pm_names *names)
{
	free(names->text);
	*names = (struct pm_names){0};
}

/* ---- locks. In one order, whatever the names' order is: of two who want the same members one gets them all. */

struct member_id {
	unsigned int index;
	dev_t dev;
	ino_t ino;
};

static int id_order(const struct member_id *a, const struct member_id *b)
{
	if (a->dev != b->dev)
		return a->dev < b->dev ? -1 : 1;
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return 0;
}

/* A device is the same by whatever node it is named. */
static int id_of(const struct pm *pm, unsigned int i, struct member_id *out)
{
	struct stat st;

	if (fstat(pm->member[i].fd, &st) != 0)
		return err_set(-errno, "%s: %s", pm->member[i].path, strerror(errno));
	*out = (struct member_id){.index = i, .dev = st.st_dev, .ino = st.st_ino};
	if (S_ISCHR(st.st_mode))
		*out = (struct member_id){.index = i, .dev = st.st_rdev};
	return 0;
}

static int ids_sorted(const struct pm *pm, struct member_id ids[PM_MEMBERS_MAX])
{
	for (unsigned int i = 0; i < pm->nmembers; i++) {
		struct member_id id;
		unsigned int at = i;
		int err = id_of(pm, i, &id);

		if (err)
			return err;
		for (; at > 0 && id_order(&id, &ids[at - 1]) < 0; at--)
			ids[at] = ids[at - 1];
		if (at > 0 && id_order(&id, &ids[at - 1]) == 0)
			return err_set(-EINVAL, "%s: is named twice (the other time as %s)", pm->member[i].path,
				       pm->member[ids[at - 1].index].path);
		ids[at] = id;
	}
	return 0;
}

int members_lock(struct pm *pm, bool shared)
{
	struct member_id ids[PM_MEMBERS_MAX];
	int err = ids_sorted(pm, ids);

	for (unsigned int i = 0; i < pm->nmembers && !err; i++) {
		const struct pm_member *m = &pm->member[ids[i].index];

		err = pm_lock_fd(m->fd, m->path, shared);
	}
	return err;
}

/* ---- order */

/* The first block, or NULL: it cannot be read, which is for who arranges to judge. */
static int head_read(const struct pm_member *m, uint8_t *buf, const void **out)
{
	uint64_t len = max_u64(m->align, HF_FRAME_SIZE);
	uint8_t *map;

	*out = NULL;
	if (m->size < len)
		return 0;
	map = mmap(NULL, len, PROT_READ, MAP_SHARED, m->fd, 0);
	if (map == MAP_FAILED)
		return err_set(-errno, "%s: cannot be mapped: %s", m->path, strerror(errno));
	if (guard_copy(buf, map, HF_BLOCK_SIZE, NULL) == 0)
		*out = buf;
	munmap(map, len);
	return 0;
}

int members_arrange(struct pm *pm, const struct pm_open_args *args)
{
	uint8_t *bufs = malloc((size_t)pm->nmembers * HF_BLOCK_SIZE);
	const void *head[PM_MEMBERS_MAX];
	int err = bufs ? 0 : err_set(-ENOMEM, "%s: no memory", pm->path);

	for (unsigned int i = 0; i < pm->nmembers && !err; i++)
		err = head_read(&pm->member[i], bufs + (size_t)i * HF_BLOCK_SIZE, &head[i]);
	if (!err)
		err = args->arrange(pm->member, pm->nmembers, head);
	free(bufs);
	return err;
}

/* ---- places */

static int place_one(struct pm_member *m, uint64_t base, uint64_t least)
{
	uint64_t align = max_u64(m->align, HF_FRAME_SIZE), have = m->size / align * align;

	if (m->bytes == 0)
		m->bytes = have;
	if (m->bytes < least)
		return err_set(-EINVAL, "%s: %llu bytes are too small for a volume: it needs at least %llu bytes (%llu MiB)",
			       m->path, (unsigned long long)m->size, (unsigned long long)least, (unsigned long long)least >> 20);
	if (m->bytes > have)
		return err_set(-EUCLEAN, "%s: the volume has %llu bytes there, the device has %llu: was it truncated?", m->path,
			       (unsigned long long)m->bytes, (unsigned long long)m->size);
	if (base % align != 0 || m->bytes % align != 0)
		return err_set(-EINVAL,
			       "%s: its pages of %llu MiB do not fit behind the devices before it: name it first, or give all "
			       "of them the same alignment ('ndctl create-namespace ... --align=2M')",
			       m->path, (unsigned long long)align >> 20);
	m->base = MOFF(base);
	return 0;
}

int members_place(struct pm *pm, uint64_t *align)
{
	uint64_t base = 0;

	*align = HF_FRAME_SIZE;
	for (unsigned int i = 0; i < pm->nmembers; i++) {
		struct pm_member *m = &pm->member[i];
		int err = place_one(m, base, pm->nmembers == 1 ? MEMBERS_SIZE_MIN : HF_FRAME_SIZE);

		if (err)
			return err;
		base += m->bytes;
		*align = max_u64(*align, m->align);
	}
	pm->size = base;
	return 0;
}

int pm_map_at(const struct pm *pm, void *addr, moff_t off, uint64_t len, int prot, bool shared)
{
	uint8_t *at = addr;
	int err;

	while (len > 0) {
		const struct pm_member *m = pm_member_at(pm, off);
		uint64_t in = off.v - m->base.v, n = min_u64(len, m->bytes - in);
		int how = MAP_PRIVATE | MAP_NORESERVE;

		/* As the member itself is: on a DAX file flushes alone make nothing durable without MAP_SYNC. */
		if (shared)
			how = m->kind == PM_FSDAX ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
		if (mmap(at, n, prot, how | MAP_FIXED, m->fd, (off_t)in) == MAP_FAILED)
			return -errno;
		if (madvise(at, n, MADV_DONTFORK) != 0) {
			err = -errno; /* nobody inherits it: nobody has it */
			mprotect(at, n, PROT_NONE);
			return err;
		}
		at += n;
		off.v += n;
		len -= n;
	}
	return 0;
}
