/* Inodes and names of the model; content is in model_data.c. */
#include "model_fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "the model: out of memory\n");
		abort();
	}
	return p;
}

int64_t m_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

void m_touch(struct model *m, struct m_inode *in, unsigned which)
{
	if (which & M_ATIME)
		in->atime = m->now;
	if (which & M_MTIME)
		in->mtime = m->now;
	if (which & M_CTIME)
		in->ctime = m->now;
}

static void time_may(struct m_time *t, const struct m_time *now)
{
	if (now->lo < t->lo)
		t->lo = now->lo;
	if (now->hi > t->hi)
		t->hi = now->hi;
}

void m_may_touch(struct model *m, struct m_inode *in, unsigned which)
{
	if (which & M_ATIME)
		time_may(&in->atime, &m->now);
	if (which & M_MTIME)
		time_may(&in->mtime, &m->now);
	if (which & M_CTIME)
		time_may(&in->ctime, &m->now);
}

/* ---- inodes */

static struct m_inode *inode_new(struct model *m, const struct m_new *n)
{
	struct m_inode *in = must(calloc(1, sizeof(*in)));

	in->mode = n->mode;
	in->uid = n->uid;
	in->gid = n->gid;
	in->rdev = n->rdev;
	in->nlink = S_ISDIR(n->mode) ? 2 : 1;
	in->target = n->target ? must(strdup(n->target)) : NULL;
	in->size = n->target ? strlen(n->target) : 0;
	m_touch(m, in, M_ATIME | M_MTIME | M_CTIME);
	in->btime = m->now;
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 256;
		m->inodes = must(realloc(m->inodes, m->cap * sizeof(*m->inodes)));
	}
	in->index = m->n;
	m->inodes[m->n++] = in;
	return in;
}

static void inode_free(struct model *m, struct m_inode *in)
{
	m_drop_pages(m, in, 0, UINT64_MAX);
	for (size_t i = 0; i < in->nxattrs; i++)
		free(in->xattrs[i].value);
	m->inodes[in->index] = m->inodes[--m->n];
	m->inodes[in->index]->index = in->index;
	free(in->pages);
	free(in->xattrs);
	free(in->entries);
	free(in->target);
	free(in);
}

static void inode_gone(struct model *m, struct m_inode *in)
{
	if (in->nlink == 0 && in->opens == 0)
		inode_free(m, in);
}

struct model *m_new(uint32_t uid, uint32_t gid)
{
	struct model *m = must(calloc(1, sizeof(*m)));
	const struct m_new root = {.mode = S_IFDIR | 0755, .uid = uid, .gid = gid};

	m->uid = uid;
	m->gid = gid;
	m->times = true;
	m->now = (struct m_time){0, INT64_MAX};
	m->root = inode_new(m, &root);
	m->root->parent = m->root;
	return m;
}

void m_crash(struct model *m)
{
	for (int i = 0; i < M_STREAMS; i++)
		m_stream_close(m, i);
	for (int i = 0; i < M_HANDLES; i++)
		m_close(m, i);
}

void m_free(struct model *m)
{
	m_crash(m);
	while (m->n)
		inode_free(m, m->inodes[m->n - 1]);
	free(m->inodes);
	free(m);
}

/* ---- entries */

static struct m_entry *entry_find(const struct m_inode *dir, const char *name)
{
	for (size_t i = 0; i < dir->nentries; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

struct m_inode *m_entry_get(const struct m_inode *dir, const char *name)
{
	const struct m_entry *e = entry_find(dir, name);

	return e ? e->in : NULL;
}

/* Open streams over dir need not tell of this name, but may. */
static void entry_changed(struct model *m, const struct m_inode *dir, const char *name)
{
	for (int i = 0; i < M_STREAMS; i++) {
		struct m_stream *s = &m->streams[i];

		if (s->in != dir)
			continue;
		for (size_t k = 0; k < s->n; k++)
			if (strcmp(s->names[k].name, name) == 0)
				s->names[k].required = false;
	}
}

static void entry_add(struct model *m, struct m_inode *dir, const char *name, struct m_inode *in)
{
	struct m_entry *e;

	if (dir->nentries == dir->entries_cap) {
		dir->entries_cap = dir->entries_cap ? 2 * dir->entries_cap : 8;
		dir->entries =
		    must(realloc(dir->entries, dir->entries_cap * sizeof(*dir->entries)));
	}
	e = &dir->entries[dir->nentries++];
	snprintf(e->name, sizeof(e->name), "%s", name);
	e->in = in;
	if (S_ISDIR(in->mode)) {
		in->parent = dir;
		dir->nlink++;
	}
	entry_changed(m, dir, name);
	m_touch(m, dir, M_MTIME | M_CTIME);
}

static void entry_remove(struct model *m, struct m_inode *dir, const char *name)
{
	struct m_entry *e = entry_find(dir, name);

	if (S_ISDIR(e->in->mode))
		dir->nlink--;
	*e = dir->entries[--dir->nentries];
	entry_changed(m, dir, name);
	m_touch(m, dir, M_MTIME | M_CTIME);
}

/* ---- walking */

/* Puts a target in place of the component: the path is target + "/" + rest. */
static int walk_splice(char path[8192], const char *target, const char *rest, bool slash)
{
	char copy[8192];

	if ((size_t)snprintf(copy, sizeof(copy), "%s%s%s", target, slash ? "/" : "", rest) >= 4096)
		return -ENAMETOOLONG;
	memcpy(path, copy, strlen(copy) + 1);
	return 0;
}

struct walker {
	struct model *m;
	struct m_inode *at;
	char path[8192];
	const char *p;
	unsigned links;
	enum m_follow follow;
};

/* One component at k->p. 1: it was the last. */
static int walk_component(struct walker *k, struct m_walk *w)
{
	const char *end = strchrnul(k->p, '/'), *rest = end + strspn(end, "/");
	size_t len = (size_t)(end - k->p);
	struct m_inode *in;
	int err;

	if (!S_ISDIR(k->at->mode))
		return -ENOTDIR;
	if (len > 255)
		return -ENAMETOOLONG;
	snprintf(w->last, sizeof(w->last), "%.*s", (int)len, k->p);
	w->dir = k->at;
	w->slash = *end == '/';
	w->special = strcmp(w->last, ".") == 0 || strcmp(w->last, "..") == 0;
	if (w->special)
		in = w->last[1] ? k->at->parent : k->at;
	else
		in = m_entry_get(k->at, w->last);
	w->in = in;
	if (in && S_ISLNK(in->mode) &&
	    (*rest || k->follow == M_FOLLOW || (k->follow == M_LINK && w->slash))) {
		if (++k->links > 40)
			return -ELOOP;
		m_may_touch(k->m, in, M_ATIME);
		err = walk_splice(k->path, in->target, rest, w->slash);
		k->p = k->path;
		if (k->path[0] == '/')
			k->at = k->m->root;
		k->p += strspn(k->p, "/");
		w->special = w->special || *k->p == '\0';
		w->in = *k->p ? NULL : k->at;
		return err ? err : *k->p == '\0';
	}
	if (*rest == '\0')
		return 1;
	if (!in)
		return -ENOENT;
	k->at = in;
	k->p = rest;
	return 0;
}

int m_walk(struct model *m, const char *path, enum m_follow follow, struct m_walk *w)
{
	struct walker k = {.m = m, .at = m->root, .follow = follow};
	int ret = 0;

	memset(w, 0, sizeof(*w));
	if (path[0] == '\0')
		return -ENOENT;
	if (strlen(path) > 4095)
		return -ENAMETOOLONG;
	snprintf(k.path, sizeof(k.path), "%s", path);
	k.p = k.path + strspn(k.path, "/");
	if (*k.p == '\0') {
		w->in = w->dir = m->root;
		w->special = true;
		return 0;
	}
	while (ret == 0)
		ret = walk_component(&k, w);
	return ret < 0 ? ret : 0;
}

int m_lookup(struct model *m, const char *path, bool follow, struct m_inode **in)
{
	struct m_walk w;
	int err = m_walk(m, path, follow ? M_FOLLOW : M_LINK, &w);

	*in = w.in;
	if (!err && !w.in)
		err = -ENOENT;
	if (!err && w.slash && !S_ISDIR(w.in->mode))
		err = -ENOTDIR;
	return err;
}

bool m_is_above(const struct m_inode *in, const struct m_inode *at)
{
	while (at != in && at->parent != at)
		at = at->parent;
	return at == in;
}

/* Where something is to be made. */
static int walk_new(struct model *m, const char *path, bool dir_too, struct m_walk *w)
{
	int err = m_walk(m, path, M_NAME, w);

	if (err)
		return err;
	if (w->special || w->in)
		return -EEXIST;
	return w->slash && !dir_too ? -ENOENT : 0;
}

/* ---- making */

static struct m_inode *create_in(struct model *m, struct m_inode *dir, const char *name,
				 const struct m_new *n)
{
	struct m_new how = *n;
	struct m_inode *in;

	if (dir->mode & S_ISGID) {
		how.gid = dir->gid;
		how.mode |= S_ISDIR(n->mode) ? S_ISGID : 0;
	}
	in = inode_new(m, &how);
	entry_add(m, dir, name, in);
	return in;
}

int m_create(struct model *m, const char *path, const struct m_new *n)
{
	struct m_walk w;
	int err = walk_new(m, path, S_ISDIR(n->mode), &w);

	if (!err)
		create_in(m, w.dir, w.last, n);
	return err;
}

int m_link(struct model *m, const char *oldpath, const char *newpath)
{
	struct m_inode *in;
	struct m_walk w;
	int err = m_lookup(m, oldpath, false, &in);

	if (err)
		return err;
	if (S_ISDIR(in->mode))
		return -EPERM;
	err = walk_new(m, newpath, false, &w);
	if (err)
		return err;
	entry_add(m, w.dir, w.last, in);
	in->nlink++;
	m_touch(m, in, M_CTIME);
	return 0;
}

int m_flink(struct model *m, int slot, const char *path)
{
	struct m_inode *in = m->handles[slot].in;
	struct m_walk w;
	int err = walk_new(m, path, false, &w);

	if (err)
		return err;
	entry_add(m, w.dir, w.last, in);
	in->nlink++;
	m_touch(m, in, M_CTIME);
	return 0;
}

/* ---- taking away */

static void inode_unlinked(struct model *m, struct m_inode *in)
{
	in->nlink -= S_ISDIR(in->mode) ? in->nlink : 1;
	m_touch(m, in, M_CTIME);
	inode_gone(m, in);
}

int m_unlink(struct model *m, const char *path)
{
	struct m_walk w;
	int err = m_walk(m, path, M_NAME, &w);

	if (err)
		return err;
	if (w.special)
		return -EISDIR;
	if (!w.in)
		return -ENOENT;
	if (S_ISDIR(w.in->mode))
		return -EISDIR;
	if (w.slash)
		return -ENOTDIR;
	entry_remove(m, w.dir, w.last);
	inode_unlinked(m, w.in);
	return 0;
}

int m_rmdir(struct model *m, const char *path)
{
	struct m_walk w;
	int err = m_walk(m, path, M_NAME, &w);

	if (err)
		return err;
	if (w.special)
		return w.last[0] == '\0' ? -EBUSY : w.last[1] ? -ENOTEMPTY : -EINVAL;
	if (!w.in)
		return -ENOENT;
	if (!S_ISDIR(w.in->mode))
		return -ENOTDIR;
	if (w.in->nentries)
		return -ENOTEMPTY;
	entry_remove(m, w.dir, w.last);
	inode_unlinked(m, w.in);
	return 0;
}

static int rename_check(const struct m_walk *from, const struct m_walk *to, unsigned flags,
			bool *unclear)
{
	bool exchange = flags & HF_RENAME_EXCHANGE;

	if (from->special || to->special)
		return -EBUSY;
	if (!from->in)
		return -ENOENT;
	if (to->in && flags & HF_RENAME_NOREPLACE)
		return -EEXIST;
	if (!to->in && exchange)
		return -ENOENT;
	if ((from->slash || to->slash) && !S_ISDIR(from->in->mode))
		return -ENOTDIR;
	if (from->in == to->in)
		return 0;
	if (S_ISDIR(from->in->mode) && m_is_above(from->in, to->dir)) {
		*unclear = true;
		return -EINVAL;
	}
	if (to->in && S_ISDIR(to->in->mode) && m_is_above(to->in, from->dir)) {
		*unclear = true;
		return exchange ? -EINVAL : -ENOTEMPTY;
	}
	if (!to->in || exchange)
		return 0;
	if (S_ISDIR(from->in->mode) && !S_ISDIR(to->in->mode))
		return -ENOTDIR;
	if (!S_ISDIR(from->in->mode) && S_ISDIR(to->in->mode))
		return -EISDIR;
	return S_ISDIR(to->in->mode) && to->in->nentries ? -ENOTEMPTY : 0;
}

int m_rename(struct model *m, const char *oldpath, const char *newpath, unsigned flags,
	     bool *unclear)
{
	struct m_walk from, to;
	int err;

	if (flags & ~3u || flags == 3) {
		*unclear = true;
		return -EINVAL;
	}
	err = m_walk(m, oldpath, M_NAME, &from);
	if (!err)
		err = m_walk(m, newpath, M_NAME, &to);
	if (!err)
		err = rename_check(&from, &to, flags, unclear);
	if (err || from.in == to.in)
		return err;
	entry_remove(m, from.dir, from.last);
	if (to.in)
		entry_remove(m, to.dir, to.last);
	entry_add(m, to.dir, to.last, from.in);
	m_touch(m, from.in, M_CTIME);
	if (to.in && flags & HF_RENAME_EXCHANGE) {
		entry_add(m, from.dir, from.last, to.in);
		m_touch(m, to.in, M_CTIME);
	} else if (to.in) {
		inode_unlinked(m, to.in);
	}
	return 0;
}

/* ---- opening */

void m_open_inode(struct model *m, struct m_inode *in, unsigned flags, int slot)
{
	in->opens++;
	m->handles[slot] = (struct m_handle){.in = in, .flags = flags};
}

void m_close(struct model *m, int slot)
{
	struct m_inode *in = m->handles[slot].in;

	if (!in)
		return;
	m->handles[slot].in = NULL;
	in->opens--;
	inode_gone(m, in);
}

static int open_existing(struct model *m, struct m_inode *in, unsigned flags, int slot)
{
	if (S_ISDIR(in->mode))
		return -EISDIR;
	if (S_ISLNK(in->mode))
		return -ELOOP;
	if (!S_ISREG(in->mode))
		return -ENXIO;
	if (flags & HF_O_TRUNC) {
		m_resize(m, in, 0);
		m_touch(m, in, M_MTIME | M_CTIME);
	}
	m_open_inode(m, in, flags, slot);
	return 0;
}

static int open_tmpfile(struct model *m, const char *path, unsigned flags, uint32_t mode, int slot)
{
	struct m_new n = {.mode = S_IFREG | (mode & 07777), .uid = m->uid, .gid = m->gid};
	struct m_inode *dir, *in;
	int err = m_lookup(m, path, true, &dir);

	if (!err && !S_ISDIR(dir->mode))
		err = -ENOTDIR;
	if (err)
		return err;
	if (dir->mode & S_ISGID)
		n.gid = dir->gid;
	in = inode_new(m, &n);
	in->nlink = 0;
	m_open_inode(m, in, flags, slot);
	return 0;
}

int m_open(struct model *m, const char *path, unsigned flags, uint32_t mode, int slot)
{
	const struct m_new n = {.mode = S_IFREG | (mode & 07777), .uid = m->uid, .gid = m->gid};
	bool excl = (flags & HF_O_CREAT) && (flags & HF_O_EXCL);
	struct m_walk w;
	int err;

	if (flags & HF_O_TMPFILE)
		return open_tmpfile(m, path, flags, mode, slot);
	err = m_walk(m, path, excl ? M_NAME : flags & HF_O_NOFOLLOW ? M_LINK : M_FOLLOW, &w);
	if (err)
		return err;
	if (w.in && excl)
		return -EEXIST;
	if (w.in && w.slash && !S_ISDIR(w.in->mode))
		return -ENOTDIR;
	if (w.in)
		return open_existing(m, w.in, flags, slot);
	if (!(flags & HF_O_CREAT))
		return -ENOENT;
	if (w.slash || w.special)
		return -EISDIR;
	m_open_inode(m, create_in(m, w.dir, w.last, &n), flags, slot);
	return 0;
}

/* ---- attributes */

int m_setattr(struct model *m, struct m_inode *in, const struct hf_setattr *a)
{
	if (a->set == 0)
		return 0;
	if (a->set & HF_SET_SIZE) {
		if (S_ISDIR(in->mode))
			return -EISDIR;
		if (!S_ISREG(in->mode))
			return -EINVAL;
		if (a->size > M_SIZE_MAX)
			return -EFBIG;
		m_resize(m, in, a->size);
		m_touch(m, in, M_MTIME);
	}
	if (a->set & HF_SET_MODE)
		in->mode = (in->mode & S_IFMT) | (a->mode & 07777);
	if (a->set & HF_SET_UID)
		in->uid = a->uid;
	if (a->set & HF_SET_GID)
		in->gid = a->gid;
	if (a->set & HF_SET_ATIME)
		in->atime = (struct m_time){a->atime_ns, a->atime_ns};
	if (a->set & HF_SET_MTIME)
		in->mtime = (struct m_time){a->mtime_ns, a->mtime_ns};
	if (a->set & HF_SET_ATIME_NOW)
		m_touch(m, in, M_ATIME);
	if (a->set & HF_SET_MTIME_NOW)
		m_touch(m, in, M_MTIME);
	m_touch(m, in, M_CTIME);
	if (a->set & HF_SET_CTIME)
		in->ctime = (struct m_time){a->ctime_ns, a->ctime_ns};
	return 0;
}

struct m_xattr *m_xattr_get(const struct m_inode *in, const char *name)
{
	for (size_t i = 0; i < in->nxattrs; i++)
		if (strcmp(in->xattrs[i].name, name) == 0)
			return &in->xattrs[i];
	return NULL;
}

uint64_t m_xattr_bytes(const struct m_inode *in)
{
	uint64_t n = 0;

	for (size_t i = 0; i < in->nxattrs; i++)
		n += strlen(in->xattrs[i].name) + in->xattrs[i].len + 32;
	return n;
}

static int xattr_name_check(const char *name)
{
	static const char *const prefix[] = {"user.", "trusted.", "security.", "system."};

	if (name[0] == '\0' || strlen(name) > 255)
		return -ERANGE;
	for (size_t i = 0; i < 4; i++)
		if (strncmp(name, prefix[i], strlen(prefix[i])) == 0)
			return name[strlen(prefix[i])] ? 0 : -EINVAL;
	return -EOPNOTSUPP;
}

static bool xattr_user_denied(const struct m_inode *in, const char *name)
{
	return strncmp(name, "user.", 5) == 0 && !S_ISREG(in->mode) && !S_ISDIR(in->mode);
}

int64_t m_getxattr(const struct m_inode *in, const char *name, void *value, size_t size)
{
	const struct m_xattr *x;
	int err = xattr_name_check(name);

	if (err)
		return err;
	x = m_xattr_get(in, name);
	if (!x || xattr_user_denied(in, name))
		return -ENODATA;
	if (size && size < x->len)
		return -ERANGE;
	if (size && x->len)
		memcpy(value, x->value, x->len);
	return (int64_t)x->len;
}

int m_setxattr(struct model *m, struct m_inode *in, const char *name, const void *value,
	       size_t size, int flags)
{
	struct m_xattr *x;
	int err;

	if (flags == (XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	if (size > 65536)
		return -E2BIG;
	err = xattr_name_check(name);
	if (err)
		return err;
	if (xattr_user_denied(in, name))
		return -EPERM;
	x = m_xattr_get(in, name);
	if (x && flags & XATTR_CREATE)
		return -EEXIST;
	if (!x && flags & XATTR_REPLACE)
		return -ENODATA;
	if (!x) {
		in->xattrs = must(realloc(in->xattrs, (in->nxattrs + 1) * sizeof(*in->xattrs)));
		x = &in->xattrs[in->nxattrs++];
		snprintf(x->name, sizeof(x->name), "%s", name);
		x->value = NULL;
	}
	free(x->value);
	x->value = must(malloc(size + 1));
	x->len = size;
	memcpy(x->value, value, size);
	m_touch(m, in, M_CTIME);
	return 0;
}

int m_removexattr(struct model *m, struct m_inode *in, const char *name)
{
	struct m_xattr *x;
	int err = xattr_name_check(name);

	if (err)
		return err;
	if (xattr_user_denied(in, name))
		return -EPERM;
	x = m_xattr_get(in, name);
	if (!x)
		return -ENODATA;
	free(x->value);
	*x = in->xattrs[--in->nxattrs];
	m_touch(m, in, M_CTIME);
	return 0;
}

/* ---- streams */

void m_stream_open(struct model *m, int slot, struct m_inode *dir)
{
	struct m_stream *s = &m->streams[slot];

	s->in = dir;
	s->in->opens++;
	s->n = dir->nentries;
	s->names = must(calloc(s->n + 1, sizeof(*s->names)));
	for (size_t i = 0; i < s->n; i++) {
		memcpy(s->names[i].name, dir->entries[i].name, sizeof(s->names[i].name));
		s->names[i].required = true;
	}
}

void m_stream_close(struct model *m, int slot)
{
	struct m_stream *s = &m->streams[slot];
	struct m_inode *in = s->in;

	if (!in)
		return;
	free(s->names);
	memset(s, 0, sizeof(*s));
	in->opens--;
	inode_gone(m, in);
}

const char *m_stream_name(struct model *m, int slot, const char *name)
{
	struct m_stream *s = &m->streams[slot];

	for (size_t i = 0; i < s->n; i++) {
		if (strcmp(s->names[i].name, name))
			continue;
		if (s->names[i].seen++ && s->names[i].required)
			return "readdir: a name came twice";
		return NULL;
	}
	/* Made since the stream was opened; it must at least have existed, which only the caller's
	 * next comparison tells. */
	return NULL;
}

const char *m_stream_end(const struct model *m, int slot)
{
	const struct m_stream *s = &m->streams[slot];

	for (size_t i = 0; i < s->n; i++)
		if (s->names[i].required && s->names[i].seen != 1)
			return "readdir: a name that was there all the time did not come";
	return NULL;
}

/* ---- paths of inodes */

static const char *name_in(const struct m_inode *dir, const struct m_inode *in)
{
	for (size_t i = 0; i < dir->nentries; i++)
		if (dir->entries[i].in == in)
			return dir->entries[i].name;
	return NULL;
}

/* From the end of 'out' towards its beginning. */
int m_path_of(const struct model *m, const struct m_inode *in, char *out, size_t size)
{
	const struct m_inode *dir = S_ISDIR(in->mode) ? in->parent : NULL;
	size_t at = size - 1;

	if (in->nlink == 0)
		return -EINVAL;
	for (size_t i = 0; !dir && i < m->n; i++)
		if (S_ISDIR(m->inodes[i]->mode) && name_in(m->inodes[i], in))
			dir = m->inodes[i];
	out[at] = '\0';
	while (in != m->root) {
		const char *name = dir ? name_in(dir, in) : NULL;
		size_t len = name ? strlen(name) : 0;

		if (!name || at < len + 1)
			return -EINVAL;
		at -= len;
		memcpy(out + at, name, len);
		out[--at] = '/';
		in = dir;
		dir = in->parent;
	}
	if (out[at] == '\0')
		out[--at] = '/';
	memmove(out, out + at, size - at);
	return 0;
}
