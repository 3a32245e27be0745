/* Content of the model's files: pages in an array sorted by number. */
#include "model_fs.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "the model: out of memory\n");
		abort();
	}
	return p;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

size_t m_page_at(const struct m_inode *in, uint64_t no)
{
	size_t lo = 0, hi = in->npages;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (in->pages[mid].no < no)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct m_page *page_find(const struct m_inode *in, uint64_t no)
{
	size_t i = m_page_at(in, no);

	return i < in->npages && in->pages[i].no == no ? &in->pages[i] : NULL;
}

/* Room for one more page at index i. */
static struct m_page *page_make(struct model *m, struct m_inode *in, uint64_t no)
{
	size_t i = m_page_at(in, no);

	if (i < in->npages && in->pages[i].no == no)
		return &in->pages[i];
	if (in->npages == in->pages_cap) {
		in->pages_cap = in->pages_cap ? 2 * in->pages_cap : 4;
		in->pages = must(realloc(in->pages, in->pages_cap * sizeof(*in->pages)));
	}
	memmove(&in->pages[i + 1], &in->pages[i], (in->npages - i) * sizeof(*in->pages));
	in->pages[i] = (struct m_page){.no = no};
	in->npages++;
	m->npages++;
	return &in->pages[i];
}

static uint8_t *page_bytes(struct m_page *p)
{
	if (!p->bytes)
		p->bytes = must(calloc(1, M_PAGE));
	return p->bytes;
}

/* Pages [first, end) go. */
void m_drop_pages(struct model *m, struct m_inode *in, uint64_t first, uint64_t end)
{
	size_t i = m_page_at(in, first), k = m_page_at(in, end);

	if (i == k)
		return;
	for (size_t j = i; j < k; j++)
		free(in->pages[j].bytes);
	memmove(in->pages + i, in->pages + k, (in->npages - k) * sizeof(*in->pages));
	in->npages -= k - i;
	m->npages -= k - i;
}

uint64_t m_missing(const struct m_inode *in, uint64_t off, uint64_t end)
{
	uint64_t first = off / M_PAGE, last = end / M_PAGE + (end % M_PAGE != 0);

	return last - first - (m_page_at(in, last) - m_page_at(in, first));
}

void m_read(const struct m_inode *in, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;

	for (uint64_t n; len; len -= n, off += n, to += n) {
		const struct m_page *p = page_find(in, off / M_PAGE);

		n = least(len, M_PAGE - off % M_PAGE);
		if (p && p->bytes)
			memcpy(to, p->bytes + off % M_PAGE, n);
		else
			memset(to, 0, n);
	}
}

/* The bytes alone. */
static void put_bytes(struct model *m, struct m_inode *in, const uint8_t *from, uint64_t len,
		      uint64_t off)
{
	for (uint64_t n; len; len -= n, off += n, from += n) {
		n = least(len, M_PAGE - off % M_PAGE);
		memcpy(page_bytes(page_make(m, in, off / M_PAGE)) + off % M_PAGE, from, n);
	}
}

void m_write(struct model *m, struct m_inode *in, const void *buf, size_t len, uint64_t off)
{
	if (len == 0)
		return;
	put_bytes(m, in, buf, len, off);
	if (off + len > in->size)
		in->size = off + len;
	m_touch(m, in, M_MTIME | M_CTIME);
}

/* Zeros where there are pages; no page comes or goes. */
static void zero_bytes(struct m_inode *in, uint64_t off, uint64_t end)
{
	for (size_t i = m_page_at(in, off / M_PAGE); i < in->npages; i++) {
		struct m_page *p = &in->pages[i];
		uint64_t first = p->no * M_PAGE, a = off > first ? off - first : 0, b;

		if (first >= end)
			break;
		b = least(end - first, M_PAGE);
		if (p->bytes)
			memset(p->bytes + a, 0, b - a);
	}
}

void m_resize(struct model *m, struct m_inode *in, uint64_t size)
{
	if (size <= in->size) {
		m_drop_pages(m, in, size / M_PAGE + (size % M_PAGE != 0), UINT64_MAX);
		if (size % M_PAGE)
			zero_bytes(in, size, size - size % M_PAGE + M_PAGE);
	}
	in->size = size;
}

/* A hole's whole blocks go; one with the end of file in it is whole. */
static void punch(struct model *m, struct m_inode *in, uint64_t off, uint64_t end)
{
	uint64_t first = off / M_PAGE + (off % M_PAGE != 0);
	uint64_t last = end / M_PAGE + (end >= in->size && end % M_PAGE != 0);

	zero_bytes(in, off, end);
	if (last > first)
		m_drop_pages(m, in, first, last);
}

static void shift(struct m_inode *in, uint64_t from_page, int64_t by_pages)
{
	for (size_t i = m_page_at(in, from_page); i < in->npages; i++)
		in->pages[i].no += (uint64_t)by_pages;
}

static int collapse(struct model *m, struct m_inode *in, uint64_t off, uint64_t len)
{
	if (off % M_PAGE || len % M_PAGE || off + len >= in->size)
		return -EINVAL;
	m_drop_pages(m, in, off / M_PAGE, (off + len) / M_PAGE);
	shift(in, (off + len) / M_PAGE, -(int64_t)(len / M_PAGE));
	in->size -= len;
	m_touch(m, in, M_MTIME | M_CTIME);
	return 0;
}

static int insert(struct model *m, struct m_inode *in, uint64_t off, uint64_t len)
{
	if (off % M_PAGE || len % M_PAGE || off >= in->size)
		return -EINVAL;
	if (len > M_SIZE_MAX - in->size)
		return -EFBIG;
	shift(in, off / M_PAGE, (int64_t)(len / M_PAGE));
	in->size += len;
	m_touch(m, in, M_MTIME | M_CTIME);
	return 0;
}

static void allocate(struct model *m, struct m_inode *in, uint64_t off, uint64_t end, bool keep)
{
	uint64_t size = keep || end < in->size ? in->size : end;

	/* What fits into an inode is not given blocks. */
	if (size > M_INLINE || end > M_INLINE)
		for (uint64_t no = off / M_PAGE; no * M_PAGE < end; no++)
			page_make(m, in, no);
	in->size = size;
	m_may_touch(m, in, M_MTIME | M_CTIME);
}

int m_fallocate(struct model *m, struct m_inode *in, int mode, uint64_t off, uint64_t len)
{
	bool keep = mode & FALLOC_FL_KEEP_SIZE;

	if (len == 0)
		return -EINVAL;
	if (off > M_SIZE_MAX || len > M_SIZE_MAX - off)
		return -EFBIG;
	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case 0:
		allocate(m, in, off, off + len, keep);
		return 0;
	case FALLOC_FL_ZERO_RANGE:
		zero_bytes(in, off, off + len);
		allocate(m, in, off, off + len, keep);
		return 0;
	case FALLOC_FL_PUNCH_HOLE:
		punch(m, in, off, off + len);
		m_may_touch(m, in, M_MTIME | M_CTIME);
		return 0;
	case FALLOC_FL_COLLAPSE_RANGE:
		return collapse(m, in, off, len);
	default:
		return insert(m, in, off, len);
	}
}

/* A piece of one page of the source. */
static void copy_piece(struct model *m, const struct m_inode *in, uint64_t from,
		       struct m_inode *out, uint64_t to, uint64_t n)
{
	uint8_t bytes[M_PAGE];

	m_read(in, bytes, n, from);
	put_bytes(m, out, bytes, n, to);
	if (to + n > out->size)
		out->size = to + n;
}

/* The library may have a hole in the source, and then makes one of the target: no page is sure to
 * stay. */
static void copy_hole(struct model *m, struct m_inode *out, uint64_t to, uint64_t n)
{
	if (to < out->size)
		punch(m, out, to, least(to + n, out->size));
}

int64_t m_copy(struct model *m, struct m_inode *in, uint64_t from, struct m_inode *out, uint64_t to,
	       uint64_t len)
{
	uint64_t done = 0, n;

	if (len == 0 || from >= in->size)
		return 0;
	len = least(len, in->size - from);
	if (to > M_SIZE_MAX || len > M_SIZE_MAX - to)
		return -EFBIG;
	if (in == out && from < to + len && to < from + len)
		return -EINVAL;
	for (; done < len; done += n) {
		uint64_t at = from + done;
		size_t i = m_page_at(in, at / M_PAGE);

		if (i < in->npages && in->pages[i].no == at / M_PAGE) {
			n = least(len - done, M_PAGE - at % M_PAGE);
			copy_piece(m, in, at, out, to + done, n);
			continue;
		}
		/* up to the next page at once: it may be far */
		n = i < in->npages ? in->pages[i].no * M_PAGE - at : len - done;
		n = least(n, len - done);
		copy_hole(m, out, to + done, n);
	}
	if (to + len > out->size)
		out->size = to + len;
	m_may_touch(m, out, M_MTIME | M_CTIME);
	return (int64_t)len;
}
