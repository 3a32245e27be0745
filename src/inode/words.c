/* Small checksummed objects in the journal: only the words that differ are logged. */
#include "inode/itable_priv.h"

enum { SET64_BYTES = 16, COPY_HEAD = 16 };

static unsigned run_cost(unsigned len)
{
	return len == 1 ? SET64_BYTES : COPY_HEAD + 8 * len;
}

static void log_run(struct txn *t, moff_t off, const le64_t *w, unsigned from, unsigned len)
{
	moff_t at = moff_add(off, from * 8);

	if (len == 1)
		txn_set64(t, at, le64_get(w[from]));
	else
		txn_copy(t, at, &w[from], len * 8);
}

/* Bit i: word i differs. Most changes leave most lines alone, which memcmp sees at once. */
static uint32_t diff_mask(const le64_t *a, const le64_t *b, unsigned n)
{
	uint32_t mask = 0;

	for (unsigned line = 0; line < n; line += 8) {
		unsigned end = (unsigned)min_u64(line + 8, n);

		if (memcmp(a + line, b + line, (end - line) * sizeof(*a)) == 0)
			continue;
		for (unsigned i = line; i < end; i++)
			mask |= (uint32_t)(a[i].raw != b[i].raw) << i;
	}
	return mask;
}

/* The first word >= from whose bit is set, or n. */
static unsigned next_set(uint32_t mask, unsigned from, unsigned n)
{
	uint32_t rest = from < n ? mask >> from : 0;

	return rest ? from + (unsigned)__builtin_ctz(rest) : n;
}

/* Two runs become one where the gap costs no more than a second item:
 *	old  a b c d e f
 *	new  A B c D E f	one copy of 5 words (56 bytes) instead of two of 2 (64)
 */
static void log_diff(struct txn *t, moff_t off, const le64_t *w, uint32_t diff, unsigned n)
{
	unsigned from = next_set(diff, 0, n);

	while (from < n) {
		unsigned end = next_set(~diff, from, n);
		unsigned next = next_set(diff, end, n);

		while (next < n) {
			unsigned next_end = next_set(~diff, next, n);

			if (run_cost(next_end - from) >
			    run_cost(end - from) + run_cost(next_end - next))
				break;
			end = next_end;
			next = next_set(diff, end, n);
		}
		log_run(t, off, w, from, end - from);
		from = next;
	}
}

void words_log(struct txn *t, moff_t off, const void *old, const void *new, unsigned n)
{
	log_diff(t, off, new, diff_mask(old, new, n), n);
}

void words_log_inode(struct txn *t, const struct geo *g, moff_t off, const struct fmt_inode *old, struct fmt_inode *new)
{
	const le64_t *o = (const le64_t *)(const void *)old, *w = (const le64_t *)(const void *)new;
	uint32_t diff = diff_mask(o, w, sizeof(*old) / 8) & ~1u;
	uint64_t key = fmt_inode_csum_key(g, INUM(le64_get(old->ino))), sum = le64_get(old->csum);

	if (diff == 0)
		return;
	for (uint32_t rest = diff; rest; rest &= rest - 1) {
		unsigned i = (unsigned)__builtin_ctz(rest);

		sum += fmt_inode_csum_word(key, i, le64_get(w[i])) - fmt_inode_csum_word(key, i, le64_get(o[i]));
	}
	new->csum = le64_of(sum);
	log_diff(t, off, w, diff | 1, sizeof(*old) / 8);
}

void words_load(struct fs *fs, struct txn *t, moff_t off, void *out, unsigned n)
{
	le64_t *w = out;

	memcpy(out, pm_at(fs->pm, off), n * sizeof(*w));
	if (!txn_may_have(t, off, n * sizeof(*w)))
		return;
	for (unsigned i = 0; i < n; i++)
		w[i] = le64_of(txn_load64(t, moff_add(off, i * 8)));
}
