/* Which lines were left out, for people. */
#include "crash/explore.h"

enum { LINES_SHOWN = 40 };

/* Those of the first blocks. */
static const char *super_blocks(uint64_t blk)
{
	switch (blk) {
	case FMT_BLK_CKPT0:
	case FMT_BLK_CKPT1:
		return "checkpoint number";
	default:
		return "tables of the volume";
	}
}

/* What a line of a volume belongs to, as far as the superblock says. */
static void name_place(const struct explorer *x, uint64_t off, char *buf, size_t size)
{
	const struct geo *g = &x->geo;
	uint64_t blk = off / HF_BLOCK_SIZE, in;

	buf[0] = 0;
	if (g->nlanes == 0)
		return;
	if (blk == 0 || blk == g->nblocks - 1) {
		snprintf(buf, size, " (superblock)");
	} else if (off >= g->lanes_off.v && off < g->lanes_off.v + g->nlanes * g->lane_bytes) {
		in = off - g->lanes_off.v;
		snprintf(buf, size, " (lane %u, half %u, at %u)", (unsigned)(in / g->lane_bytes),
			 (unsigned)(in % g->lane_bytes / (g->lane_bytes / 2)),
			 (unsigned)(in % (g->lane_bytes / 2)));
	} else if (off >= g->alloc_off.v && off < g->alloc_off.v + g->nframes * HF_LINE) {
		snprintf(buf, size, " (allocation line %u)",
			 (unsigned)((off - g->alloc_off.v) / HF_LINE));
	} else if (blk >= g->first_data.v) {
		snprintf(buf, size, " (block %u)", (unsigned)blk);
	} else {
		snprintf(buf, size, " (%s)", super_blocks(blk));
	}
}

static void left_line(struct explorer *x, const struct builder *b, size_t i, char *buf, size_t size)
{
	uint64_t off = b->no[i] * (uint64_t)HF_LINE;
	struct choice c = b->c[i];
	char place[64];
	int n;

	name_place(x, off, place, sizeof(place));
	n = snprintf(buf, size, "line %zu at %#llx%s: ", i, (unsigned long long)off, place);
	if (n < 0 || (size_t)n >= size)
		return;
	if (c.k == 0 && !c.words && !c.flip)
		snprintf(buf + n, size - (size_t)n, "none of its %u stores",
			 media_line(b->m, b->no[i])->n);
	else if (c.k == UINT32_MAX)
		snprintf(buf + n, size - (size_t)n, "all its stores but non-temporal ones %#x",
			 c.flip);
	else
		snprintf(buf + n, size - (size_t)n,
			 "the first %u of its %u stores, of the next the words %#x%s", c.k,
			 media_line(b->m, b->no[i])->n, c.words,
			 c.bytes == 0xff ? "" : ", its edge in part");
}

void left_describe(struct explorer *x, const struct builder *b, unsigned level)
{
	size_t at = strlen(x->left_out);
	char of[32] = "";

	if (level)
		snprintf(of, sizeof(of), "recovery %u, ", level);
	for (size_t i = 0; i < b->n; i++) {
		char line[256];
		int n;

		if (b->c[i].k == UINT32_MAX && !b->c[i].flip)
			continue;
		if (++x->nleft_out > LINES_SHOWN)
			continue;
		left_line(x, b, i, line, sizeof(line));
		n = snprintf(x->left_out + at, sizeof(x->left_out) - at, "%s%s%s", at ? "\n" : "",
			     of, line);
		at = min_u64(at + (size_t)(n > 0 ? n : 0), sizeof(x->left_out) - 1);
	}
	if (x->nleft_out > LINES_SHOWN)
		snprintf(x->left_out + at, sizeof(x->left_out) - at, "\nand %llu more",
			 (unsigned long long)(x->nleft_out - LINES_SHOWN));
}
