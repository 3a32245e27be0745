/* All that a volume shows: names, types, modes, links, sizes, content, attributes, which names are
 * one inode. Not the times. */
#include "crash/fs.h"

#include <stdlib.h>
#include <sys/stat.h>

enum {
	NODES_MAX = 64,
	PATH_BYTES = 64,
	CONTENT_MAX = 4u << 20,
	XATTRS_MAX = 70000,
	MIXED_MAX = 64
};

struct node {
	char path[PATH_BYTES];
	struct hf_stat st;
	uint8_t *content; /* or a symlink's target */
	size_t len;
	uint8_t *xattrs; /* name NUL value, one after the other */
	size_t xattrs_len;
};

struct snap {
	size_t n;
	bool part; /* the content is another one's */
	struct node node[NODES_MAX];
};

void snap_free(struct snap *s)
{
	for (size_t i = 0; s && !s->part && i < s->n; i++) {
		free(s->node[i].content);
		free(s->node[i].xattrs);
	}
	free(s);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct node *)a)->path, ((const struct node *)b)->path);
}

static int read_content(hf_volume *vol, struct node *n)
{
	hf_file *f;
	ssize_t got;
	int err;

	if (n->st.size > CONTENT_MAX)
		return err_set(-EFBIG, "%s: a size of %llu", n->path,
			       (unsigned long long)n->st.size);
	n->len = n->st.size;
	n->content = malloc(n->len + 1);
	if (!n->content)
		return -ENOMEM;
	if (S_ISLNK(n->st.mode)) {
		got = hf_readlink(vol, n->path, (char *)n->content, n->len);
		return got < 0 ? (int)got : 0;
	}
	err = hf_open(vol, n->path, HF_O_RDONLY, 0, &f);
	if (err)
		return err;
	got = hf_pread(f, n->content, n->len + 1, 0);
	hf_close(&f);
	if (got < 0)
		return (int)got;
	return (size_t)got == n->len
		   ? 0
		   : err_set(-EUCLEAN, "%s: %zd bytes can be read, the size is %zu", n->path, got,
			     n->len);
}

static int add_xattr(hf_volume *vol, struct node *n, const char *name)
{
	size_t name_len = strlen(name) + 1;
	ssize_t len = hf_lgetxattr(vol, n->path, name, NULL, 0);
	uint8_t *p;

	if (len < 0)
		return (int)len;
	p = realloc(n->xattrs, n->xattrs_len + name_len + (size_t)len + 1);
	if (!p)
		return -ENOMEM;
	n->xattrs = p;
	memcpy(p + n->xattrs_len, name, name_len);
	len = hf_lgetxattr(vol, n->path, name, p + n->xattrs_len + name_len, (size_t)len);
	n->xattrs_len += name_len + (size_t)(len > 0 ? len : 0);
	return len < 0 ? (int)len : 0;
}

/* The names in an order of their own: the volume's may change. */
static int read_xattrs(hf_volume *vol, struct node *n)
{
	char list[1024], last[256] = "";
	ssize_t len = hf_llistxattr(vol, n->path, list, sizeof(list));

	while (len > 0) {
		const char *next = NULL;
		int err;

		for (const char *at = list; at < list + len; at += strlen(at) + 1)
			if (strcmp(at, last) > 0 && (!next || strcmp(at, next) < 0))
				next = at;
		if (!next)
			return 0;
		snprintf(last, sizeof(last), "%s", next);
		err = add_xattr(vol, n, next);
		if (err)
			return err;
	}
	return len < 0 ? (int)len : 0;
}

static int read_dir(hf_volume *vol, struct snap *s, const char *path)
{
	struct hf_dirent e;
	hf_dir *dir;
	int err = hf_opendir(vol, path, &dir);

	if (err)
		return err;
	while ((err = hf_readdir(dir, &e)) > 0) {
		struct node *n = &s->node[s->n];
		int len;

		if (!strcmp(e.name, ".") || !strcmp(e.name, ".."))
			continue;
		if (s->n == NODES_MAX) {
			err = err_set(-EFBIG, "more names than the workload made");
			break;
		}
		memset(n, 0, sizeof(*n));
		len = snprintf(n->path, sizeof(n->path), "%s%s%s", path, *path ? "/" : "", e.name);
		if (len < 0 || (size_t)len >= sizeof(n->path)) {
			err = err_set(-ENAMETOOLONG, "a name that the workload did not make");
			break;
		}
		s->n++;
	}
	hf_closedir(&dir);
	return err;
}

static int read_node(hf_volume *vol, struct node *n)
{
	int err = hf_lstat(vol, n->path, &n->st);

	if (!err && !S_ISDIR(n->st.mode) && strcmp(n->path, FS_FULL))
		err = read_content(vol, n);
	return err ? err : read_xattrs(vol, n);
}

int snap_take(hf_volume *vol, struct snap **out)
{
	struct snap *s = malloc(sizeof(*s));
	int err;

	*out = NULL;
	if (!s)
		return err_set(-ENOMEM, "no memory for a snapshot");
	s->n = 0;
	s->part = false;
	err = read_dir(vol, s, "/");
	for (size_t i = 0; i < s->n && !err; i++) {
		memmove(s->node[i].path, s->node[i].path + (s->node[i].path[0] == '/'),
			strlen(s->node[i].path) + 1);
		if (s->node[i].path[0] == '/')
			memmove(s->node[i].path, s->node[i].path + 1, strlen(s->node[i].path));
		err = read_node(vol, &s->node[i]);
		if (!err && S_ISDIR(s->node[i].st.mode))
			err = read_dir(vol, s, s->node[i].path);
	}
	if (err) {
		snap_free(s);
		return err;
	}
	qsort(s->node, s->n, sizeof(s->node[0]), by_path);
	*out = s;
	return 0;
}

struct snap *snap_part(const struct snap *s, bool (*mine)(const char *path, unsigned which),
		       unsigned which)
{
	struct snap *part = malloc(sizeof(*part));
	uint64_t ino[NODES_MAX];

	if (!part)
		return NULL;
	part->n = 0;
	part->part = true;
	for (size_t i = 0; i < s->n; i++) {
		struct node *n = &part->node[part->n];
		size_t k = 0;

		if (mine && !mine(s->node[i].path, which))
			continue;
		*n = s->node[i];
		ino[part->n] = n->st.id.ino;
		while (ino[k] != n->st.id.ino)
			k++;
		n->st.id.ino = k;
		n->st.id.gen = 0;
		part->n++;
	}
	return part;
}

/* ---- comparing */

/* blocks: how much is allocated, too. Not of an operation in flight, which may have allocated
 * ahead, in a transaction of its own. */
static bool same_meta(const struct node *a, const struct node *b, bool blocks)
{
	return strcmp(a->path, b->path) == 0 && a->st.id.ino == b->st.id.ino &&
	       a->st.id.gen == b->st.id.gen && a->st.mode == b->st.mode &&
	       a->st.nlink == b->st.nlink && a->st.uid == b->st.uid && a->st.gid == b->st.gid &&
	       a->st.size == b->st.size && (!blocks || a->st.blocks_512 == b->st.blocks_512) &&
	       a->st.rdev == b->st.rdev && a->st.btime_ns == b->st.btime_ns &&
	       a->xattrs_len == b->xattrs_len &&
	       (a->xattrs_len == 0 || memcmp(a->xattrs, b->xattrs, a->xattrs_len) == 0);
}

static bool same_content(const struct node *a, const struct node *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->content, b->content, a->len) == 0);
}

bool snap_same(const struct snap *a, const struct snap *b, bool blocks)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!same_meta(&a->node[i], &b->node[i], blocks) ||
		    !same_content(&a->node[i], &b->node[i]))
			return false;
	return true;
}

static uint64_t node_hash(const struct node *n)
{
	const uint64_t meta[] = {n->st.id.ino,
				 n->st.id.gen,
				 n->st.mode,
				 n->st.nlink,
				 (uint64_t)n->st.uid << 32 | n->st.gid,
				 n->st.size,
				 n->st.blocks_512,
				 n->st.rdev,
				 (uint64_t)n->st.btime_ns,
				 n->xattrs_len,
				 n->len};
	uint64_t h = hash_bytes(n->path, strlen(n->path), 0);

	h = hash_bytes(meta, sizeof(meta), h);
	h = hash_bytes(n->xattrs, n->xattrs_len, h);
	return hash_bytes(n->content, n->len, h);
}

uint64_t snap_hash(const struct snap *s)
{
	uint64_t h = s->n;

	for (size_t i = 0; i < s->n; i++)
		h = hash_mix2(h, node_hash(&s->node[i]));
	return h;
}

/* Each aligned 8 bytes that the range covers wholly are as in a or as in b, each other byte is. b
 * may be longer or shorter: what it lacks is as in a. */
static bool content_mixed(const struct node *have, const struct node *a, const struct node *b,
			  uint64_t off, uint64_t len)
{
	for (size_t w = 0; w < have->len; w += 8) {
		size_t n = min_u64(8, have->len - w);
		bool whole = w >= off && w + 8 <= off + len;

		if (memcmp(have->content + w, a->content + w, n) == 0 ||
		    (w + n <= b->len && memcmp(have->content + w, b->content + w, n) == 0))
			continue;
		if (whole && w + n <= b->len)
			return false;
		for (size_t i = w; i < w + n; i++)
			if (have->content[i] != a->content[i] &&
			    (i >= b->len || have->content[i] != b->content[i]))
				return false;
	}
	return true;
}

bool snap_mixed(const struct snap *s, const struct snap *before, const struct snap *after,
		uint64_t off, uint64_t len)
{
	if (s->n != before->n || s->n != after->n)
		return false;
	for (size_t i = 0; i < s->n; i++) {
		const struct node *n = &s->node[i], *a = &before->node[i], *b = &after->node[i];
		bool is_a = same_meta(n, a, false), is_b = same_meta(n, b, false);

		if (!is_a && !is_b)
			return false;
		if ((is_a && same_content(n, a)) || (is_b && same_content(n, b)))
			continue;
		/* The new size says that all of the new content is there. */
		if (n->len != a->len || !content_mixed(n, a, b, off, len))
			return false;
	}
	return true;
}

static const struct node *same_file(const struct snap *s, const struct node *like)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->node[i].st.id.ino == like->st.id.ino)
			return &s->node[i];
	return NULL;
}

static bool same_word(const struct snap *s, const struct node *n, size_t w, size_t bytes)
{
	const struct node *x = same_file(s, n);

	return x && w + bytes <= x->len && memcmp(x->content + w, n->content + w, bytes) == 0;
}

static void lift_word(struct node *n, size_t w, const struct node *with, struct snap *const *old,
		      size_t nold)
{
	size_t bytes = min_u64(8, n->len - w);

	for (size_t k = 0; k < nold; k++)
		if (same_word(old[k], n, w, bytes)) {
			memcpy(n->content + w, with->content + w, bytes);
			return;
		}
}

void snap_lift(struct snap *s, const struct snap *without, const struct snap *with,
	       struct snap *const *old, size_t nold)
{
	for (size_t i = 0; i < s->n; i++) {
		struct node *n = &s->node[i];
		const struct node *a = same_file(without, n), *b = same_file(with, n);

		if (!a || !b || a->len != n->len || b->len != n->len)
			continue;
		for (size_t w = 0; w < n->len; w += 8) {
			size_t bytes = min_u64(8, n->len - w);

			if (memcmp(a->content + w, b->content + w, bytes) == 0)
				continue;
			if (memcmp(n->content + w, a->content + w, bytes) == 0)
				memcpy(n->content + w, b->content + w, bytes);
			else
				lift_word(n, w, b, old, nold);
		}
	}
}

static bool same_names(const struct snap *a, const struct snap *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!same_meta(&a->node[i], &b->node[i], false))
			return false;
	return true;
}

/* A longer one has also what a shorter one gets before its size changes; not the other way round.
 */
static const struct node *as_long(const struct snap *s, const struct node *like)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->node[i].path, like->path) == 0 && s->node[i].len >= like->len)
			return &s->node[i];
	return NULL;
}

/* The nodes of one name in several snapshots. */
struct alike {
	const struct node *of[MIXED_MAX];
	size_t n;
};

static bool bytes_in_one(const struct node *have, size_t at, size_t len, const struct alike *a)
{
	for (size_t k = 0; k < a->n; k++)
		if (memcmp(a->of[k]->content + at, have->content + at, len) == 0)
			return true;
	return false;
}

static bool content_mixed_of(const struct node *have, const struct alike *a, uint64_t off,
			     uint64_t len)
{
	if (bytes_in_one(have, 0, have->len, a))
		return true;
	for (size_t w = 0; w < have->len; w += 8) {
		size_t bytes = min_u64(8, have->len - w);

		if (bytes_in_one(have, w, bytes, a))
			continue;
		if (w >= off && w + 8 <= off + len)
			return false;
		for (size_t i = w; i < w + bytes; i++)
			if (!bytes_in_one(have, i, 1, a))
				return false;
	}
	return true;
}

static bool node_mixed_of(const struct node *have, struct snap *const *of, size_t n, uint64_t off,
			  uint64_t len)
{
	struct alike a = {.n = 0};

	for (size_t k = 0; k < n && a.n < MIXED_MAX; k++) {
		a.of[a.n] = as_long(of[k], have);
		a.n += a.of[a.n] != NULL;
	}
	return have->len == 0 || content_mixed_of(have, &a, off, len);
}

bool snap_mixed_of(const struct snap *s, struct snap *const *of, size_t n, uint64_t off,
		   uint64_t len)
{
	bool names = false;

	for (size_t k = 0; k < n && !names; k++)
		names = same_names(s, of[k]);
	for (size_t i = 0; i < s->n && names; i++)
		names = node_mixed_of(&s->node[i], of, n, off, len);
	return names;
}

static void node_difference(const struct node *have, const struct node *want, char *buf,
			    size_t size)
{
	size_t i = 0;

	while (i < have->len && i < want->len && have->content[i] == want->content[i])
		i++;
	if (!same_meta(have, want, true))
		snprintf(
		    buf, size,
		    "%s: mode %o, %u links, %llu bytes, %llu sectors, inode %llu, %zu bytes of "
		    "attributes instead of "
		    "mode %o, %u links, %llu bytes, %llu sectors, inode %llu, %zu bytes of "
		    "attributes",
		    want->path, have->st.mode, have->st.nlink, (unsigned long long)have->st.size,
		    (unsigned long long)have->st.blocks_512, (unsigned long long)have->st.id.ino,
		    have->xattrs_len, want->st.mode, want->st.nlink,
		    (unsigned long long)want->st.size, (unsigned long long)want->st.blocks_512,
		    (unsigned long long)want->st.id.ino, want->xattrs_len);
	else if (i < have->len)
		snprintf(buf, size, "%s: byte %zu is %#x instead of %#x", want->path, i,
			 have->content[i], want->content[i]);
}

void snap_difference(const struct snap *have, const struct snap *want, char *buf, size_t size)
{
	size_t i = 0, j = 0;

	buf[0] = 0;
	while (!buf[0] && (i < have->n || j < want->n)) {
		int order = i == have->n   ? 1
			    : j == want->n ? -1
					   : strcmp(have->node[i].path, want->node[j].path);

		if (order < 0)
			snprintf(buf, size, "%s is there", have->node[i].path);
		else if (order > 0)
			snprintf(buf, size, "%s is not there", want->node[j].path);
		else
			node_difference(&have->node[i++], &want->node[j++], buf, size);
	}
}

int snap_remove_all(hf_volume *vol, const struct snap *s)
{
	int err = 0;

	/* Sorted: what is in a directory comes after it. */
	for (size_t i = s->n; i > 0 && !err; i--) {
		const struct node *n = &s->node[i - 1];

		err = S_ISDIR(n->st.mode) ? hf_rmdir(vol, n->path) : hf_unlink(vol, n->path);
	}
	return err;
}
