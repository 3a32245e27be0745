/* What is pinned and what is busy, for people.
 *
 * Both lists are joins of the pins' extents with the busy runs, by media block: one side is sorted
 * once per call, the other is looked up in it. */
#include "file/volume.h"
#include "base/clock.h"
#include "pin/pin.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_BATCH 256u

struct busy_runs {
	struct space_busy *run; /* sorted by block, they do not overlap */
	struct hf_busy *out;	/* of the same index before sorting; NULL: not wanted */
	size_t n, room;
};

static int runs_compare(const void *a, const void *b)
{
	const struct space_busy *x = a, *y = b;

	return (x->first.v > y->first.v) - (x->first.v < y->first.v);
}

/* The first run that ends behind 'block'. */
static size_t runs_find(const struct busy_runs *b, uint64_t block)
{
	size_t low = 0, high = b->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (b->run[mid].first.v + b->run[mid].n <= block)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static uint64_t list_age(uint64_t since_ns, uint64_t now_ns)
{
	return since_ns && now_ns > since_ns ? now_ns - since_ns : 0;
}

/* ---- pins: how much of each is busy */

static int runs_more(struct busy_runs *b)
{
	size_t room = b->room ? b->room * 2 : LIST_BATCH;
	struct space_busy *run = realloc(b->run, room * sizeof(*run));

	if (!run)
		return err_set(-ENOMEM, "out of memory");
	b->run = run;
	b->room = room;
	return 0;
}

/* All runs that wait for pins. */
static int runs_all(struct fs *fs, struct busy_runs *b)
{
	uint64_t cursor = 0;
	int err = 0;

	while (!err && cursor != UINT64_MAX) {
		size_t got, kept = b->n;

		if (b->room - b->n < LIST_BATCH)
			err = runs_more(b);
		if (err)
			break;
		got = space_busy_list(fs->space, &cursor, b->run + b->n, LIST_BATCH);
		for (size_t i = 0; i < got; i++)
			if (!b->run[b->n + i].journal)
				b->run[kept++] = b->run[b->n + i];
		b->n = kept;
	}
	qsort(b->run, b->n, sizeof(*b->run), runs_compare);
	return err;
}

static uint64_t runs_overlap(const struct busy_runs *b, uint64_t first, uint64_t n)
{
	uint64_t sum = 0;

	for (size_t i = runs_find(b, first); i < b->n && b->run[i].first.v < first + n; i++) {
		uint64_t from = max_u64(first, b->run[i].first.v),
			 to = min_u64(first + n, b->run[i].first.v + b->run[i].n);

		sum += to > from ? to - from : 0;
	}
	return sum;
}

struct list_tid {
	uint32_t tid;
	bool alive;
};

struct pin_sums {
	struct busy_runs busy;
	uint64_t id, sum; /* of the pin that is being listed */
};

static void sums_add(void *ctx, const struct pin_info *pin, mblk_t first, uint64_t n)
{
	struct pin_sums *s = ctx;

	if (pin->id != s->id)
		s->sum = 0;
	s->id = pin->id;
	s->sum += runs_overlap(&s->busy, first.v, n);
}

/* A thread's end makes its pins nobody's. (A number that the kernel has given to another thread of
 * the process by now is still shown; who owns a pin is never decided by it.) */
static uint32_t list_thread(uint32_t tid, struct list_tid *last)
{
	if (tid != last->tid)
		*last = (struct list_tid){tid, tgkill(getpid(), (pid_t)tid, 0) == 0};
	return last->alive ? tid : 0;
}

static void list_pin_fill(struct hf_pin_info *to, const struct pin_info *from, uint64_t now_ns)
{
	memset(to, 0, sizeof(*to));
	to->pin = from->id;
	to->id = (struct hf_id){from->ino.v, from->gen};
	to->off = from->off;
	to->len = from->len;
	to->age_ns = list_age(from->since_ns, now_ns);
	to->flags = from->flags;
	to->leased = from->leased;
	to->orphaned = from->orphaned;
	static_assert(sizeof(to->tag) == sizeof(from->tag), "");
	static_assert(sizeof(to->name) == sizeof(from->name), "");
	memcpy(to->tag, from->tag, sizeof(to->tag));
	memcpy(to->name, from->name, sizeof(to->name));
}

static int list_pins(struct fs *fs, uint64_t *cursor, struct hf_pin_info *out, size_t max,
		     size_t *n)
{
	struct pin_sums s = {0};
	const struct pin_info_fn each = {.fn = sums_add, .ctx = &s};
	uint64_t now_ns = clock_mono_ns();
	struct list_tid tid = {0};
	struct pin_info pin;
	size_t got;
	int err = runs_all(fs, &s.busy);

	while (!err && *n < max && *cursor != UINT64_MAX) {
		err = pin_list(fs, cursor, &pin, 1, &got, &each);
		if (err || got == 0)
			continue;
		list_pin_fill(&out[*n], &pin, now_ns);
		out[*n].thread = list_thread(pin.thread, &tid);
		out[(*n)++].busy = (s.id == pin.id ? s.sum : 0) << HF_BLOCK_SHIFT;
		s.id = 0;
	}
	free(s.busy.run);
	return err;
}

/* The results are in memory of the library until the last lock is dropped. */
HF_API int hf_pin_list(hf_volume *vol, uint64_t *cursor, struct hf_pin_info *out, size_t max,
		       size_t *n)
{
	VOLUME_CALL(vol);
	struct hf_pin_info *list;
	uint64_t at;
	size_t got = 0;
	int err = enter_volume(vol);

	if (n)
		*n = 0;
	if (err)
		return err;
	if (!cursor || !out || !n || max == 0)
		return err_set(-EINVAL, "pin_list: a parameter is NULL or there is no room");
	at = *cursor;
	if (max > LIST_BATCH * 64)
		max = LIST_BATCH * 64;
	list = malloc(max * sizeof(*list));
	if (!list)
		return err_set(-ENOMEM, "pin_list: out of memory");
	err = list_pins(&vol->fs, &at, list, max, &got);
	if (!err) {
		memcpy(out, list, got * sizeof(*list));
		*n = got;
		*cursor = at;
	}
	free(list);
	return (int)enter_leave(err, "pin_list");
}

HF_API int hf_pin_stat(hf_volume *vol, hf_pin_id pin, struct hf_pin_info *out)
{
	VOLUME_CALL(vol);
	struct pin_sums s = {0};
	const struct pin_info_fn each = {.fn = sums_add, .ctx = &s};
	struct list_tid tid = {0};
	struct hf_pin_info to;
	struct pin_info info;
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "pin_stat: the out-parameter is NULL");
	err = runs_all(&vol->fs, &s.busy);
	if (!err)
		err = pin_stat(&vol->fs, pin, &info, &each);
	free(s.busy.run);
	if (err)
		return (int)enter_leave(err, "pin_stat");
	list_pin_fill(&to, &info, clock_mono_ns());
	to.thread = list_thread(info.thread, &tid);
	to.busy = s.sum << HF_BLOCK_SHIFT;
	memcpy(out, &to, sizeof(to));
	return 0;
}

/* ---- busy extents: which pin holds each */

static void busy_fill(struct hf_busy *to, const struct space_busy *from, uint64_t now_ns)
{
	memset(to, 0, sizeof(*to));
	to->media_off = from->first.v << HF_BLOCK_SHIFT;
	to->len = from->n << HF_BLOCK_SHIFT;
	to->id.ino = from->owner.v;
	to->off = from->fblk.v << HF_BLOCK_SHIFT;
	to->age_ns = list_age(from->since_ns, now_ns);
	to->journal = from->journal;
}

/* One of the pins that hold it; the one that was taken on the file it came from, if there is one.
 */
static void busy_name(void *ctx, const struct pin_info *pin, mblk_t first, uint64_t n)
{
	struct busy_runs *b = ctx;

	for (size_t i = runs_find(b, first.v); i < b->n && b->run[i].first.v < first.v + n; i++) {
		struct hf_busy *to = &b->out[i];

		if (to->journal || (to->pin && to->id.gen))
			continue;
		to->pin = pin->id;
		to->id.gen = to->id.ino == pin->ino.v ? pin->gen : 0;
		memcpy(to->tag, pin->tag, sizeof(to->tag));
		memcpy(to->name, pin->name, sizeof(to->name));
	}
}

static int list_busy(struct fs *fs, uint64_t *cursor, struct busy_runs *b)
{
	const struct pin_info_fn each = {.fn = busy_name, .ctx = b};
	uint64_t now_ns = clock_mono_ns(), at = 0;
	struct pin_info pin;
	size_t got;
	int err = 0;

	b->n = space_busy_list(fs->space, cursor, b->run, b->room);
	qsort(b->run, b->n, sizeof(*b->run), runs_compare);
	for (size_t i = 0; i < b->n; i++)
		busy_fill(&b->out[i], &b->run[i], now_ns);
	while (!err && b->n && at != UINT64_MAX)
		err = pin_list(fs, &at, &pin, 1, &got, &each);
	return err;
}

HF_API int hf_busy_list(hf_volume *vol, uint64_t *cursor, struct hf_busy *out, size_t max,
			size_t *n)
{
	VOLUME_CALL(vol);
	struct busy_runs b = {0};
	uint64_t at;
	int err = enter_volume(vol);

	if (n)
		*n = 0;
	if (err)
		return err;
	if (!cursor || !out || !n || max == 0)
		return err_set(-EINVAL, "busy_list: a parameter is NULL or there is no room");
	at = *cursor;
	b.room = max < LIST_BATCH * 64 ? max : LIST_BATCH * 64;
	b.run = malloc(b.room * sizeof(*b.run));
	b.out = malloc(b.room * sizeof(*b.out));
	if (!b.run || !b.out)
		err = err_set(-ENOMEM, "busy_list: out of memory");
	else if (at != UINT64_MAX)
		err = list_busy(&vol->fs, &at, &b);
	if (!err && b.n) {
		memcpy(out, b.out, b.n * sizeof(*b.out));
		*n = b.n;
	}
	if (!err)
		*cursor = at;
	free(b.run);
	free(b.out);
	return (int)enter_leave(err, "busy_list");
}
