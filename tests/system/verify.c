/* Comparing a volume with the model. */
#include "verify.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int differ(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int differ(struct verify *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->text, sizeof(v->text), fmt, ap);
	va_end(ap);
	return 1;
}

/* ---- attributes */

static int time_check(struct verify *v, const char *where, const char *what, struct m_time *t,
		      int64_t real)
{
	if (real < t->lo || real > t->hi)
		return differ(v, "%s: %s is %lld, not in [%lld, %lld]", where, what,
			      (long long)real, (long long)t->lo, (long long)t->hi);
	t->lo = t->hi = real;
	return 0;
}

static int times_check(struct verify *v, const char *where, struct m_inode *in,
		       const struct hf_stat *st)
{
	return time_check(v, where, "atime", &in->atime, st->atime_ns) ||
	       time_check(v, where, "mtime", &in->mtime, st->mtime_ns) ||
	       time_check(v, where, "ctime", &in->ctime, st->ctime_ns) ||
	       time_check(v, where, "btime", &in->btime, st->btime_ns);
}

#define SAME(field, fmt)                                                                           \
	do {                                                                                       \
		if (st->field != in->field)                                                        \
			return differ(v, "%s: " #field " is " fmt ", should be " fmt, where,       \
				      st->field, in->field);                                       \
	} while (0)

int verify_stat(struct verify *v, struct model *m, struct m_inode *in, const struct hf_stat *st,
		const char *where)
{
	if (in->id.ino == 0)
		in->id = st->id;
	if (st->id.ino != in->id.ino || st->id.gen != in->id.gen)
		return differ(v, "%s: inode %llu:%llu, should be %llu:%llu", where,
			      (unsigned long long)st->id.ino, (unsigned long long)st->id.gen,
			      (unsigned long long)in->id.ino, (unsigned long long)in->id.gen);
	SAME(mode, "%#o");
	SAME(nlink, "%u");
	SAME(uid, "%u");
	SAME(gid, "%u");
	if (S_ISCHR(in->mode) || S_ISBLK(in->mode))
		SAME(rdev, "%#lx");
	if (!S_ISDIR(in->mode) && in != v->in_flight)
		SAME(size, "%lu");
	if (st->blksize != 4096)
		return differ(v, "%s: blksize %u", where, st->blksize);
	if (S_ISREG(in->mode) && in != v->in_flight && in->size > M_INLINE &&
	    st->blocks_512 / 8 < in->npages)
		return differ(v, "%s: %llu blocks, at least %zu were written", where,
			      (unsigned long long)st->blocks_512 / 8, in->npages);
	return m->times && !v->crashed ? times_check(v, where, in, st) : 0;
}

/* ---- content */

static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t i = 0;

	while (i < len && a[i] == b[i])
		i++;
	return i;
}

static int range_check(struct verify *v, struct m_inode *in, hf_file *f, const char *where,
		       uint64_t off, uint64_t end)
{
	while (off < end) {
		size_t n = end - off < OP_LEN_MAX ? (size_t)(end - off) : OP_LEN_MAX, at;
		int64_t got = hf_pread(f, v->a, n, off);

		if (got != (int64_t)n)
			return differ(v, "%s: read of %zu at %#llx gave %lld", where, n,
				      (unsigned long long)off, (long long)got);
		m_read(in, v->b, n, off);
		if (memcmp(v->a, v->b, n)) {
			at = first_difference(v->a, v->b, n);
			return differ(v, "%s: byte %#llx is %#x, should be %#x (size %#llx)", where,
				      (unsigned long long)(off + at), v->a[at], v->b[at],
				      (unsigned long long)in->size);
		}
		off += n;
	}
	return 0;
}

/* No byte of the model's pages lies in a hole. */
static int hole_check(struct verify *v, struct m_inode *in, const char *where, uint64_t off,
		      uint64_t end)
{
	for (size_t i = m_page_at(in, off / M_PAGE); i < in->npages; i++) {
		uint64_t at = in->pages[i].no * M_PAGE;

		if (at >= end || in->size <= M_INLINE)
			break;
		return differ(
		    v, "%s: page %#llx was written or allocated and lies in a hole [%#llx, %#llx)",
		    where, (unsigned long long)at, (unsigned long long)off,
		    (unsigned long long)end);
	}
	return 0;
}

static int content_check(struct verify *v, struct m_inode *in, hf_file *f, const char *where)
{
	uint64_t at = 0;
	int err = 0;

	while (at < in->size && !err) {
		int64_t data = hf_seek(f, at, SEEK_DATA), hole;

		if (data == -ENXIO)
			return hole_check(v, in, where, at, in->size);
		if (data < (int64_t)at)
			return differ(v, "%s: SEEK_DATA from %#llx gave %lld", where,
				      (unsigned long long)at, (long long)data);
		hole = hf_seek(f, (uint64_t)data, SEEK_HOLE);
		if (hole <= data || (uint64_t)hole > in->size)
			return differ(v, "%s: SEEK_HOLE from %#llx gave %lld", where,
				      (unsigned long long)data, (long long)hole);
		err = (uint64_t)data > at && hole_check(v, in, where, at, (uint64_t)data);
		if (!err)
			err = range_check(v, in, f, where, (uint64_t)data, (uint64_t)hole);
		at = (uint64_t)hole;
	}
	return err;
}

/* Extents are in order, do not overlap, and cover what was written. */
static int extents_check(struct verify *v, struct m_inode *in, hf_file *f, const char *where)
{
	struct hf_extent e[64];
	uint64_t at = 0;
	size_t n, page = 0;
	int err;

	do {
		err = hf_extents(f, at, e, 64, &n);
		if (err)
			return differ(v, "%s: extents gave %d", where, err);
		for (size_t i = 0; i < n; i++) {
			if (e[i].off < at || e[i].len == 0 || e[i].off % M_PAGE ||
			    e[i].len % M_PAGE)
				return differ(v, "%s: extent %#llx+%#llx after %#llx", where,
					      (unsigned long long)e[i].off,
					      (unsigned long long)e[i].len, (unsigned long long)at);
			if (page < in->npages && in->size > M_INLINE &&
			    in->pages[page].no * M_PAGE < e[i].off)
				return differ(v, "%s: page %#llx is in no extent", where,
					      (unsigned long long)in->pages[page].no * M_PAGE);
			at = e[i].off + e[i].len;
			page = m_page_at(in, at / M_PAGE);
		}
	} while (n == 64);
	return 0;
}

int verify_content(struct verify *v, struct m_inode *in, const char *where)
{
	hf_file *f;
	int err = hf_inode_open(v->r->vol, in->id, HF_O_RDONLY, &f);

	if (err)
		return differ(v, "%s: open by number gave %d", where, err);
	err = content_check(v, in, f, where);
	if (!err)
		err = extents_check(v, in, f, where);
	hf_close(&f);
	return err;
}

/* ---- the rest of an inode */

static int link_check(struct verify *v, const struct m_inode *in, const char *where)
{
	int64_t n = hf_inode_readlink(v->r->vol, in->id, (char *)v->a, 4096);

	if (n != (int64_t)in->size || memcmp(v->a, in->target, in->size))
		return differ(v, "%s: readlink gave %lld", where, (long long)n);
	return 0;
}

static int xattrs_check(struct verify *v, const struct m_inode *in, const char *where)
{
	int64_t n = hf_inode_listxattr(v->r->vol, in->id, (char *)v->a, 65536);
	size_t count = 0;

	if (n < 0)
		return differ(v, "%s: listxattr gave %lld", where, (long long)n);
	for (const char *at = (char *)v->a; at < (char *)v->a + n; at += strlen(at) + 1) {
		const struct m_xattr *x = m_xattr_get(in, at);
		int64_t len = hf_inode_getxattr(v->r->vol, in->id, at, v->b, 65536);

		if (!x)
			return differ(v, "%s: has an attribute '%s' too much", where, at);
		if (len != (int64_t)x->len || memcmp(v->b, x->value, x->len))
			return differ(v, "%s: attribute '%s' has %lld bytes, should have %zu",
				      where, at, (long long)len, x->len);
		count++;
	}
	if (count != in->nxattrs)
		return differ(v, "%s: has %zu attributes, should have %zu", where, count,
			      in->nxattrs);
	return 0;
}

static int dir_check(struct verify *v, const struct m_inode *in, const char *where)
{
	struct hf_dirent e;
	size_t names = 0;
	hf_dir *d;
	int ret = hf_inode_opendir(v->r->vol, in->id, &d);

	if (ret)
		return differ(v, "%s: opendir gave %d", where, ret);
	for (ret = hf_readdir(d, &e); ret == 1; ret = hf_readdir(d, &e)) {
		const struct m_inode *child = m_entry_get(in, e.name);

		if (strcmp(e.name, ".") == 0 || strcmp(e.name, "..") == 0)
			continue;
		if (!child) {
			hf_closedir(&d);
			return differ(v, "%s: has a name '%s' too much", where, e.name);
		}
		if (e.type != (child->mode & S_IFMT) >> 12 ||
		    (child->id.ino && child->id.ino != e.ino)) {
			hf_closedir(&d);
			return differ(v, "%s/%s: readdir says inode %llu of type %u", where, e.name,
				      (unsigned long long)e.ino, e.type);
		}
		names++;
	}
	hf_closedir(&d);
	if (ret || names != in->nentries)
		return differ(v, "%s: readdir gave %d and %zu names, should be %zu", where, ret,
			      names, in->nentries);
	return 0;
}

static int inode_check(struct verify *v, struct model *m, struct m_inode *in, const char *where)
{
	int err = 0;

	m->now.lo = m_clock();
	if (S_ISDIR(in->mode))
		err = dir_check(v, in, where);
	else if (S_ISLNK(in->mode))
		err = link_check(v, in, where);
	else if (S_ISREG(in->mode) && in != v->in_flight)
		err = verify_content(v, in, where);
	/* this was reading, too */
	m->now.hi = m_clock();
	m_may_touch(m, in, M_ATIME);
	return err ? err : xattrs_check(v, in, where);
}

int verify_inode(struct verify *v, struct model *m, struct m_inode *in, const char *path)
{
	char buf[OP_PATH + 64];
	struct hf_stat st;
	int err = hf_lstat(v->r->vol, real_path(v->r, path, buf), &st);

	if (err)
		return differ(v, "%s: lstat gave %d", path, err);
	return verify_stat(v, m, in, &st, path);
}

/* ---- everything */

/* The prefix's directory stands for the model's root. */
static int root_learn(struct verify *v, struct model *m)
{
	struct hf_stat st;
	int err = hf_stat(v->r->vol, v->r->prefix[0] ? v->r->prefix : "/", &st);

	if (err)
		return differ(v, "the root: stat gave %d", err);
	m->root->id = st.id;
	return 0;
}

static int children_check(struct verify *v, struct model *m, struct m_inode *dir)
{
	for (size_t i = 0; i < dir->nentries; i++) {
		struct m_entry *e = &dir->entries[i];
		struct hf_stat st;
		int err = hf_inode_lookup(v->r->vol, dir->id, e->name, &st);

		if (err)
			return differ(v, "'%s': lookup in inode %llu gave %d", e->name,
				      (unsigned long long)dir->id.ino, err);
		err = verify_stat(v, m, e->in, &st, e->name);
		if (err)
			return err;
	}
	return 0;
}

int verify_all(struct verify *v, struct model *m)
{
	struct hf_stat st;
	char where[64];
	int err = root_learn(v, m);

	/* Directories in the order of the array; numbers are learned on the way down, so until none
	 * is missing. */
	for (bool again = true; again && !err;) {
		again = false;
		for (size_t i = 0; i < m->n && !err; i++) {
			struct m_inode *in = m->inodes[i];

			if (S_ISDIR(in->mode) && in->id.ino)
				err = children_check(v, m, in);
		}
		for (size_t i = 0; i < m->n; i++)
			again = again || (m->inodes[i]->nlink && m->inodes[i]->id.ino == 0);
	}
	for (size_t i = 0; i < m->n && !err; i++) {
		struct m_inode *in = m->inodes[i];

		snprintf(where, sizeof(where), "inode %llu", (unsigned long long)in->id.ino);
		if (in->id.ino == 0 || (v->crashed && in->nlink == 0))
			continue; /* without a name, and never looked at or gone */
		err = hf_inode_stat(v->r->vol, in->id, &st);
		if (err)
			return differ(v, "%s: stat by number gave %d", where, err);
		err = verify_stat(v, m, in, &st, where);
		if (!err)
			err = inode_check(v, m, in, where);
	}
	return err;
}

static void finding(void *ctx, const struct hf_finding *f)
{
	struct verify *v = ctx;

	if (v->text[0] == '\0')
		snprintf(v->text, sizeof(v->text), "check: %s: %s", f->structure, f->text);
	fprintf(stderr, "finding: %s: %s\n", f->structure, f->text);
}

int verify_check(struct verify *v, hf_volume *vol, const char *path, struct hf_check_result *res)
{
	const struct hf_check_options o = {
	    .struct_size = sizeof(o), .ctx = v, .finding = finding, .max_findings = 20};
	struct hf_statfs s;
	int err;

	v->text[0] = '\0';
	err = path ? hf_check(path, &o, res) : hf_check_mounted(vol, &o, res);
	if (err)
		return differ(v, "the check gave %d: %s", err, hf_errormsg());
	if (res->findings)
		return 1;
	if (path)
		return 0;
	err = hf_statfs(vol, &s);
	if (err || s.blocks_free + s.blocks_busy_journal + s.blocks_busy_pinned + s.blocks_used !=
		       s.blocks)
		return differ(
		    v, "statfs gave %d: %llu free + %llu + %llu busy + %llu used is not %llu", err,
		    (unsigned long long)s.blocks_free, (unsigned long long)s.blocks_busy_journal,
		    (unsigned long long)s.blocks_busy_pinned, (unsigned long long)s.blocks_used,
		    (unsigned long long)s.blocks);
	return 0;
}

/* ---- a data operation that did not get to its end */

/* What is there now, into the model. A page of zeros may be a hole: nothing is claimed of it. */
static void adopt_bytes(struct verify *v, struct model *m, struct m_inode *in, uint64_t off,
			uint64_t len)
{
	static const uint8_t zeros[M_PAGE];
	uint8_t page[M_PAGE];

	for (uint64_t i = 0, k; i < len; i += k) {
		uint64_t no = (off + i) / M_PAGE;

		k = M_PAGE - (off + i) % M_PAGE;
		k = k < len - i ? k : len - i;
		m_read(in, page, k, off + i);
		if (memcmp(v->a + i, page, k))
			m_write(m, in, v->a + i, k, off + i);
		m_read(in, page, M_PAGE, no * M_PAGE);
		if (memcmp(page, zeros, M_PAGE) == 0)
			m_drop_pages(m, in, no, no + 1);
	}
}

int verify_adopt(struct verify *v, struct model *m, struct m_inode *in, hf_file *file,
		 const uint8_t *old, const uint8_t *new, uint64_t off, uint64_t len, unsigned unit)
{
	struct m_time mtime = in->mtime, ctime = in->ctime;
	uint64_t size = in->size;
	int64_t n = hf_pread(file, v->a, len, off);

	if (n < 0)
		return differ(v, "after a write that did not end: read gave %lld", (long long)n);
	for (uint64_t i = 0, k; i < (uint64_t)n; i += k) {
		k = unit - (off + i) % unit;
		k = k < (uint64_t)n - i ? k : (uint64_t)n - i;
		if (memcmp(v->a + i, old + i, k) && memcmp(v->a + i, new + i, k))
			return differ(
			    v, "bytes %#llx+%llu are neither old nor new: %#x, old %#x, new %#x",
			    (unsigned long long)(off + i), (unsigned long long)k, v->a[i], old[i],
			    new[i]);
	}
	adopt_bytes(v, m, in, off, (uint64_t)n);
	in->size = size;
	in->mtime = mtime;
	in->ctime = ctime;
	m->now.hi = m_clock();
	m_may_touch(m, in, M_ATIME | M_MTIME | M_CTIME);
	return 0;
}
