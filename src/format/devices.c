/* Which of the devices that are named is which: by the superblock at the beginning of each. Mistakes here would let one volume
 * write to another, so nothing is guessed: a device that nothing tells from a foreign one is refused. */
#include "format/geo.h"
#include "base/error.h"

#include <stdio.h>

#define PLACE_NONE UINT32_MAX

struct arrange {
	struct pm_member *member;
	unsigned n;
	const struct fmt_super *head[PM_MEMBERS_MAX];	/* NULL: cannot be read */
	uint32_t place[PM_MEMBERS_MAX];			/* which device of the volume it is */
	const struct fmt_super *ref;			/* the superblock that says what there is */
	bool mend;
};

static uint32_t place_said(const struct fmt_super *s)
{
	uint32_t copy = le32_get(s->copy);

	if (copy == FMT_COPY_FIRST)
		return 0;
	return copy > FMT_COPY_LAST ? copy - FMT_COPY_OF(0) : PLACE_NONE;
}

static bool head_sound(const struct fmt_super *s)
{
	return s && geo_verify_super(s, UINT64_MAX, le32_get(s->copy)) == 0 && place_said(s) != PLACE_NONE;
}

/* The first device's superblock says what the volume is. Where that is damaged, the one that knows of most; which of its second
 * copies counts is found out afterwards (geo_read). */
static bool better_ref(const struct fmt_super *ref, const struct fmt_super *s)
{
	if (!ref || place_said(s) == 0 || place_said(ref) == 0)
		return !ref || place_said(ref) != 0;
	return le32_get(s->ndevices) > le32_get(ref->ndevices);
}

static int choose_ref(struct arrange *a)
{
	for (unsigned i = 0; i < a->n; i++)
		if (head_sound(a->head[i]) && better_ref(a->ref, a->head[i]))
			a->ref = a->head[i];
	if (a->ref)
		return 0;
	/* The sentence of the first. */
	if (a->head[0])
		(void)geo_verify_super(a->head[0], UINT64_MAX, le32_get(a->head[0]->copy));
	else
		err_set(-EIO, "the superblock cannot be read");
	return err_prefix(-EINVAL, "%s", a->member[0].path);
}

static int place_refuse(const struct arrange *a, unsigned i, const struct fmt_super *s, uint32_t at)
{
	const char *path = a->member[i].path;

	if (memcmp(s->uuid, a->ref->uuid, sizeof(s->uuid)) != 0 || le64_get(s->seed) != le64_get(a->ref->seed))
		return err_set(-EINVAL, "%s: belongs to another volume than the other devices that are named", path);
	return err_set(-EINVAL,
		       "%s: says that it is device %u of the volume, but the volume does not know it: leave it out",
		       path, at + 1);
}

static int place_sound(struct arrange *a, unsigned i)
{
	const struct fmt_super *s = a->head[i];
	uint32_t at = place_said(s);

	if (memcmp(s->uuid, a->ref->uuid, sizeof(s->uuid)) != 0 || le64_get(s->seed) != le64_get(a->ref->seed) ||
	    at >= le32_get(a->ref->ndevices) || memcmp(s->devices[at].uuid, a->ref->devices[at].uuid, 16) != 0)
		return place_refuse(a, i, s, at);
	for (unsigned k = 0; k < i; k++)
		if (a->place[k] == at)
			return err_set(-EINVAL, "%s and %s both say that they are device %u of the volume: one is a copy of the other; "
				       "leave it out", a->member[k].path, a->member[i].path, at + 1);
	a->place[i] = at;
	return 0;
}

/* The device of the volume that none of the named ones is; PLACE_NONE: none, or (*several) more than one. */
static uint32_t place_missing(const struct arrange *a, bool *several)
{
	uint32_t missing = PLACE_NONE;

	*several = false;
	for (uint32_t at = 0; at < le32_get(a->ref->ndevices); at++) {
		bool found = false;

		for (unsigned i = 0; i < a->n; i++)
			found |= a->place[i] == at;
		if (found)
			continue;
		*several = missing != PLACE_NONE;
		missing = missing == PLACE_NONE ? at : missing;
	}
	return missing;
}

/* Damage leaves something: it cannot be read, or some of the words that name the volume stand where they should. */
static bool still_recognised(const struct arrange *a, unsigned i, uint32_t at)
{
	const struct fmt_super *s = a->head[i];

	return !s || memcmp(s->uuid, a->ref->uuid, sizeof(s->uuid)) == 0 || le64_get(s->seed) == le64_get(a->ref->seed) ||
	       memcmp(s->devices[at].uuid, a->ref->devices[at].uuid, 16) == 0;
}

/* A damaged first superblock stands for the first device, if the volume is there: geo_read() looks whether its C is. */
static int place_damaged(struct arrange *a, unsigned i)
{
	const char *path = a->member[i].path;
	bool several;
	uint32_t at = place_missing(a, &several);

	if (at == PLACE_NONE)
		return err_set(-EINVAL, "%s: is no device of the volume, which has %u, all of them named: leave it out", path,
			       le32_get(a->ref->ndevices));
	if (several || (at > 0 && !still_recognised(a, i, at)))
		return err_set(-EINVAL, "%s: is no device of the volume: its first block is no superblock of it", path);
	if (at > 0 && !a->mend)
		return err_set(-EBADMSG, "%s: the superblock at its beginning is damaged: 'fsck.holdfast -p' with all devices of the "
			       "volume writes it again", path);
	a->place[i] = at;
	return 0;
}

static int place_all(struct arrange *a)
{
	int err = 0;

	for (unsigned i = 0; i < a->n; i++)
		a->place[i] = PLACE_NONE;
	for (unsigned i = 0; i < a->n && !err; i++)
		if (head_sound(a->head[i]))
			err = place_sound(a, i);
	for (unsigned i = 0; i < a->n && !err; i++)
		if (a->place[i] == PLACE_NONE)
			err = place_damaged(a, i);
	return err;
}

static int say_missing(const struct arrange *a, uint32_t at)
{
	const uint8_t *u = a->ref->devices[at].uuid;

	return err_set(-ENODEV,
		       "device %u of %u of the volume is missing (uuid %02x%02x%02x%02x-..., %llu MiB): name all of them, as A:B:C, in any "
		       "order",
		       at + 1, le32_get(a->ref->ndevices), u[0], u[1], u[2], u[3],
		       (unsigned long long)le64_get(a->ref->devices[at].frames) * (HF_FRAME_SIZE >> 20));
}

/* Of the last device there may be more than the volume has, as of a volume's only one. */
static void sort_members(struct arrange *a)
{
	struct pm_member in[PM_MEMBERS_MAX];

	memcpy(in, a->member, a->n * sizeof(in[0]));
	for (unsigned i = 0; i < a->n; i++) {
		uint32_t at = a->place[i];

		a->member[at] = in[i];
		if (at + 1 < a->n)
			a->member[at].bytes = le64_get(a->ref->devices[at].frames) * HF_FRAME_SIZE;
	}
}

/* Whose stamp the others must have: the first device's or, if its superblock is damaged, the newest. */
static unsigned stamp_ref(const struct arrange *a)
{
	unsigned ref = 0;

	while (a->place[ref] != 0)
		ref++;
	if (head_sound(a->head[ref]))
		return ref;
	for (unsigned i = 0; i < a->n; i++)
		if (head_sound(a->head[i]) && (!head_sound(a->head[ref]) || geo_stamp_compare(a->head[ref], a->head[i]) > 0))
			ref = i;
	return ref;
}

/* Were they together at the last mount? A damaged superblock has no say. A repair that was interrupted may have numbered some. */
static int stamps_agree(const struct arrange *a)
{
	unsigned ref = stamp_ref(a);

	if (le64_get(a->head[ref]->incompat) & FMT_INCOMPAT_REPAIR)
		return 0;
	for (unsigned i = 0; i < a->n; i++) {
		int age = head_sound(a->head[i]) ? geo_stamp_compare(a->head[ref], a->head[i]) : 0;

		if (age != 0)
			return err_set(-EINVAL,
				       "%s: is an older state of this device: the volume was mounted without it since. Name the one of now, or "
				       "all devices from one backup; 'fsck.holdfast -y' takes them as they are, and repairs what does not fit",
				       a->member[age < 0 ? i : ref].path);
	}
	return 0;
}

static int arrange(struct pm_member *member, unsigned n, const void *const *head, bool mend)
{
	struct arrange a = {.member = member, .n = n, .mend = mend};
	uint32_t missing;
	bool several;
	int err;

	for (unsigned i = 0; i < n; i++)
		a.head[i] = head[i];
	err = choose_ref(&a);
	if (!err)
		err = place_all(&a);
	if (err)
		return err;
	missing = place_missing(&a, &several);
	if (missing != PLACE_NONE)
		return say_missing(&a, missing);
	err = mend ? 0 : stamps_agree(&a);
	if (err)
		return err;
	err_clear();
	sort_members(&a);
	return 0;
}

static int arrange_sound(struct pm_member *member, unsigned n, const void *const *head)
{
	return arrange(member, n, head, false);
}

static int arrange_mend(struct pm_member *member, unsigned n, const void *const *head)
{
	return arrange(member, n, head, true);
}

int geo_open(const char *path, const struct pm_open_args *args, bool mend, struct pm **out)
{
	struct pm_open_args a = *args;

	a.arrange = mend ? arrange_mend : arrange_sound;
	return pm_open(path, &a, out);
}
