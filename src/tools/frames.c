/* What each frame is: its allocation line, what the files' maps say, what is pinned. */
#include "frames.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INODE_TRIES 16u			/* for an inode that its owner is just changing */

const char *const frame_state_name[FR_STATES] = {"free", "metadata", "split", "huge", "pinned", "busy"};

struct reader {
	struct look *look;
	struct frame_map *m;
	struct check c;
	struct hf_check_options opts;
	struct hf_check_result res;
	struct progress bar;
};

static void content_leaf(struct check *c, void *ctx, fblk_t fblk, mblk_t blk, uint64_t n)
{
	struct frame_map *m = ctx;
	uint64_t f = blk.v / HF_BLOCKS_PER_FRAME;

	(void)c;
	(void)fblk;
	m->f[f].data = (uint16_t)(m->f[f].data + n);
	if (n == HF_BLOCKS_PER_FRAME)
		m->f[f].huge = true;
}

/* A private copy of an inode whose checksum is right; false: free, reserved or damaged. */
static bool read_inode(struct reader *r, uint64_t ino, struct fmt_inode *out)
{
	const struct fmt_inode *i = check_inode_at(&r->c, INUM(ino));
	unsigned tries;

	for (tries = 0; i && tries < INODE_TRIES; tries++) {
		memcpy(out, i, sizeof(*out));
		if (fmt_inode_verify(&r->look->geo, out, INUM(ino)) == 0)
			return le32_get(out->mode) != 0;
	}
	r->c.res->findings++;
	return false;
}

/* Only content is looked for: what is allocated and is no file's content is metadata. */
static void read_contents(struct reader *r)
{
	uint64_t ino, end = r->c.iblocks * FMT_INODES_PER_BLOCK;
	struct fmt_inode i;

	for (ino = FMT_INO_FIRST; ino < end && !r->c.err; ino++) {
		if (ino % 4096 == 0)
			progress_update(&r->bar, ino, end, "inodes");
		if (!read_inode(r, ino, &i) || (!S_ISREG(le32_get(i.mode)) && !S_ISLNK(le32_get(i.mode))))
			continue;
		check_map(&r->c, "map", INUM(ino), FMT_FORK_DATA, le64_get(i.root), i.height, content_leaf, r->m);
	}
}

static void read_lines(struct reader *r)
{
	uint64_t f, w;

	for (f = 0; f < r->m->n; f++)
		for (w = 0; w < HF_BLOCKS_PER_FRAME / 64; w++)
			r->m->f[f].used = (uint16_t)(r->m->f[f].used +
				__builtin_popcountll(look_word(r->look, f * (HF_BLOCKS_PER_FRAME / 64) + w)));
}

/* Which frames the pins hold, and what of it is free on the media. */
static void read_pins(struct reader *r)
{
	const struct look_pins *p = &r->m->pins;
	uint64_t f, w, at;
	size_t i, k;

	for (f = 0; p->held && f < r->m->n; f++)
		for (w = 0; w < HF_BLOCKS_PER_FRAME / 64; w++) {
			at = f * (HF_BLOCKS_PER_FRAME / 64) + w;
			r->m->f[f].pinned = (uint16_t)(r->m->f[f].pinned + __builtin_popcountll(p->held[at]));
			r->m->f[f].busy = (uint16_t)(r->m->f[f].busy + __builtin_popcountll(p->held[at] & ~look_word(r->look, at)));
		}
	for (i = 0; i < p->n && i < UINT32_MAX; i++)
		for (k = 0; k < p->pin[i].n; k++) {
			const struct pins_extent *x = &p->pin[i].ext[k];

			for (f = x->first / HF_BLOCKS_PER_FRAME; f * HF_BLOCKS_PER_FRAME < x->first + pins_blocks(x); f++)
				r->m->f[f].pin = (uint32_t)i + 1;
		}
}

static int read_all(struct reader *r)
{
	struct frame_map *m = r->m;
	int err;

	r->c = (struct check){.pm = r->look->pm, .geo = r->look->geo, .opts = &r->opts, .res = &r->res};
	r->c.seen = calloc((size_t)(r->look->geo.nblocks + 63) / 64, sizeof(uint64_t));
	m->f = calloc((size_t)m->n, sizeof(*m->f));
	if (!r->c.seen || !m->f)
		return err_set(-ENOMEM, "no memory for %" PRIu64 " frames", m->n);
	err = look_pins_try(m->path, r->look, &m->pins);
	if (err)
		return err;
	read_lines(r);
	read_pins(r);
	check_itable(&r->c);
	if (!r->c.err)
		read_contents(r);
	/* what its owner changes under our eyes looks like damage */
	m->damaged = m->live ? 0 : r->res.findings;
	return r->c.err;
}

int frames_read(const char *path, bool progress, struct frame_map *m)
{
	struct look look;
	struct reader r = {.look = &look, .m = m, .opts = {.struct_size = sizeof(r.opts)}};
	int err = look_open(path, &look);

	*m = (struct frame_map){.path = path};
	if (err)
		return err;
	m->n = look.geo.nframes;
	m->live = look.live;
	m->owner = look.owner;
	memcpy(m->who, look.who, sizeof(m->who));
	progress_begin(&r.bar, "frames", progress);
	err = read_all(&r);
	progress_end(&r.bar);
	free(r.c.seen);
	free(r.c.iblock);
	free(r.c.ibitmap);
	free(r.c.links);
	look_close(&look);
	if (err)
		frames_free(m);
	return err;
}

void frames_free(struct frame_map *m)
{
	free(m->f);
	look_pins_free(&m->pins);
	m->f = NULL;
}

enum frame_state frame_state_of(const struct frame_info *f)
{
	if (f->busy)
		return FR_BUSY;
	if (f->pinned)
		return FR_PINNED;
	if (f->huge)
		return FR_HUGE;
	if (!f->used)
		return FR_FREE;
	return f->data * 2 >= f->used ? FR_SPLIT : FR_METADATA;
}

static struct frame_run run_of(const struct frame_map *m, uint64_t frame)
{
	const struct frame_info *f = &m->f[frame];
	struct frame_run r = {.first = frame, .n = 1, .state = frame_state_of(f), .used = f->used, .data = f->data, .pinned = f->pinned,
			      .busy = f->busy, .pin = f->pin};

	if (r.state == FR_SPLIT)
		r.eighths = (f->used * 8u + HF_BLOCKS_PER_FRAME - 1) / HF_BLOCKS_PER_FRAME;
	return r;
}

void frame_run_add(struct frame_run *to, const struct frame_run *more)
{
	to->n += more->n;
	to->used += more->used;
	to->data += more->data;
	to->pinned += more->pinned;
	to->busy += more->busy;
	to->more_pins = to->more_pins || more->more_pins || (to->pin && more->pin && to->pin != more->pin);
	if (!to->pin)
		to->pin = more->pin;
}

struct frame_run frames_run(const struct frame_map *m, uint64_t first)
{
	struct frame_run r = run_of(m, first), next;

	while (r.first + r.n < m->n) {
		next = run_of(m, r.first + r.n);
		if (!frame_run_alike(&r, &next))
			break;
		frame_run_add(&r, &next);
	}
	return r;
}

struct frame_run frames_cell(const struct frame_map *m, uint64_t first, uint64_t n)
{
	uint64_t count[FR_STATES] = {0}, split_used = 0, f, end = min_u64(first + n, m->n);
	struct frame_run cell = run_of(m, first), one;
	unsigned s;

	for (f = first; f < end; f++) {
		one = run_of(m, f);
		count[one.state]++;
		if (one.state == FR_SPLIT)
			split_used += one.used;
		if (f > first)
			frame_run_add(&cell, &one);
	}
	cell.state = FR_FREE;
	for (s = FR_FREE; s < FR_PINNED; s++)
		if (count[s] > count[cell.state])
			cell.state = s;
	if (count[FR_PINNED])
		cell.state = FR_PINNED;
	if (count[FR_BUSY])
		cell.state = FR_BUSY;
	cell.eighths = cell.state == FR_FREE && cell.used ? 1 : 0;
	if (cell.state == FR_SPLIT)
		cell.eighths = (unsigned)((split_used * 8 + count[FR_SPLIT] * HF_BLOCKS_PER_FRAME - 1) /
					  (count[FR_SPLIT] * HF_BLOCKS_PER_FRAME));
	return cell;
}

const char *frame_run_text(const struct frame_map *m, const struct frame_run *r, char *buf, size_t size)
{
	char from[32], to[32], tag[4 * PINS_TAG_BYTES], name[4 * PINS_NAME_BYTES];
	const struct look_pin *pin = r->pin ? &m->pins.pin[r->pin - 1] : NULL;
	int n = snprintf(buf, size, "frame%s %" PRIu64, r->n > 1 ? "s" : "", r->first);

	if (r->n > 1)
		n += snprintf(buf + n, size - (size_t)n, "..%" PRIu64, r->first + r->n - 1);
	n += snprintf(buf + n, size - (size_t)n, " (%s to %s): %s", tool_human(r->first * HF_FRAME_SIZE, from),
		      tool_human((r->first + r->n) * HF_FRAME_SIZE, to), frame_state_name[r->state]);
	if (r->used)
		n += snprintf(buf + n, size - (size_t)n, ", %.0f%% in use", 100.0 * (double)r->used / (double)(r->n * HF_BLOCKS_PER_FRAME));
	if (r->pinned)
		n += snprintf(buf + n, size - (size_t)n, ", %" PRIu64 " blocks pinned", r->pinned);
	if (r->busy)
		n += snprintf(buf + n, size - (size_t)n, ", %" PRIu64 " busy", r->busy);
	if (pin)
		snprintf(buf + n, size - (size_t)n, ", by '%s' (%s)%s", tool_quote(pin->tag, tag, sizeof(tag)),
			 tool_quote(*pin->name ? pin->name : "?", name, sizeof(name)), r->more_pins ? " and others" : "");
	return buf;
}

void frames_sum(const struct frame_map *m, struct frame_sum sum[FR_STATES])
{
	uint64_t f = 0, start;
	enum frame_state s;

	memset(sum, 0, FR_STATES * sizeof(sum[0]));
	while (f < m->n) {
		s = frame_state_of(&m->f[f]);
		for (start = f; f < m->n && frame_state_of(&m->f[f]) == s; f++)
			;
		sum[s].frames += f - start;
		sum[s].runs++;
		sum[s].longest = max_u64(sum[s].longest, f - start);
	}
}
