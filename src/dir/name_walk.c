/* Names: walking a path.
 *
 * One directory at a time, each held by a reference: nothing is locked between two components, as anywhere. A symlink's target
 * takes the place of the component in a copy of the path; no recursion. */
#include "dir/name_cache.h"
#include "dir/name_int.h"

struct walk {
	struct fs *fs;
	struct inode *at;		/* a reference */
	const char *p;			/* what is left of the path */
	unsigned links;			/* followed so far */
	char buf[NAME_PATH_MAX + 1];	/* the path after the first symlink */
};

/* One component: p[0..len), and what is behind it. */
struct walk_part {
	unsigned len;
	bool last;
	bool slashes;			/* come after it */
	const char *rest;		/* without them */
};

static int walk_part(const char *p, struct walk_part *c)
{
	const char *end = strchrnul(p, '/');

	if (end - p > (ptrdiff_t)FMT_NAME_MAX)
		return err_set(-ENAMETOOLONG, "a name has at most %u bytes", FMT_NAME_MAX);
	c->len = (unsigned)(end - p);
	c->slashes = *end == '/';
	while (*end == '/')
		end++;
	c->rest = end;
	c->last = *c->rest == '\0';
	return 0;
}

static int walk_to_root(struct walk *w)
{
	struct inode *root;
	int err = inode_get(w->fs, INUM(FMT_INO_ROOT), 0, &root);

	if (err)
		return err;
	inode_put(w->at);
	w->at = root;
	return 0;
}

/* w->p begins with '/': goes to the root and skips them. */
static int walk_absolute(struct walk *w)
{
	w->p += strspn(w->p, "/");
	return walk_to_root(w);
}

/* The path becomes the link's target and what came after the link. Not inlined: 4 KiB of stack. */
static __attribute__((noinline)) int walk_follow(struct walk *w, struct inode *link, const struct walk_part *c)
{
	char target[NAME_PATH_MAX + 1];
	size_t rest = strlen(c->rest);
	unsigned len;
	int err;

	if (++w->links > NAME_LOOPS_MAX)
		return err_set(-ELOOP, "more than %u symlinks", NAME_LOOPS_MAX);
	err = name_target(link, target, &len);
	if (err)
		return err;
	if (len + c->slashes + rest > NAME_PATH_MAX)
		return err_set(-ENAMETOOLONG, "with a symlink's target, the path has over %u bytes", NAME_PATH_MAX);
	memmove(w->buf + len + c->slashes, c->rest, rest + 1);	/* may lie in buf itself */
	memcpy(w->buf, target, len);
	if (c->slashes)
		w->buf[len] = '/';
	w->p = w->buf;
	return w->buf[0] == '/' ? walk_absolute(w) : 0;
}

/* Goes on through one component that is not the parent's last. *done: it was the path's last. */
static int walk_step(struct walk *w, const struct walk_part *c, unsigned flags, bool *done)
{
	bool follow = !c->last || c->slashes || !(flags & WALK_NOFOLLOW);
	struct inode *next;
	int err = name_step(w->at, w->p, c->len, &next);

	if (err)
		return err;
	if (next->type == S_IFLNK && follow) {
		err = walk_follow(w, next, c);
		/* A rename over it may have freed it, and the name was never gone: once more. */
		if (err == -ENOENT && atomic_load(&next->dead))
			err = 0;
		inode_put(next);
		return err;
	}
	inode_put(w->at);
	w->at = next;
	w->p = c->rest;
	if (c->slashes && !name_is_dir(next))
		return err_set(-ENOTDIR, "inode %llu is not a directory", (unsigned long long)next->ino.v);
	*done = c->last;
	return 0;
}

/* One component by the name cache, from the directory 'at' (without a line: w->at). That one is looked at again after the next line
 * was read: so it was there meanwhile, and its number nobody else's. */
static bool walk_hit(const struct walk *w, const struct name_hit *at, const char *p, const struct walk_part *c, unsigned flags,
		     struct name_hit *next)
{
	if (!name_cache_get(w->fs, at->ino, p, c->len, next))
		return false;
	if (at->line ? !name_cache_still(at) : w->at && atomic_load_explicit(&w->at->dead, memory_order_acquire))
		return false;
	if (next->type == S_IFDIR)
		return true;
	return c->last && !c->slashes && (next->type != S_IFLNK || flags & WALK_NOFOLLOW);
}

/* As far as the name cache knows the way, with one reference for all of it. What it does not know, and '..', and symlinks, are left
 * to the steps. The root needs no reference for it (w->at is NULL): it stays, and its count would be everybody's. */
static void walk_cached(struct walk *w, unsigned flags, bool *is_dir)
{
	struct name_hit at = {.ino = w->at ? w->at->ino : INUM(FMT_INO_ROOT)}, next;
	struct walk_part c = {0};
	const char *p = w->p;
	struct inode *in;

	while (*p != '\0') {
		if (walk_part(p, &c) || (c.last && flags & WALK_PARENT) || !walk_hit(w, &at, p, &c, flags, &next))
			break;
		at = next;
		p = c.rest;
	}
	if (p == w->p)
		return;
	if (inode_get(w->fs, at.ino, at.gen, &in)) {
		err_clear();	/* freed since, or damaged: the directories say which */
		return;
	}
	inode_put(w->at);
	w->at = in;
	w->p = p;
	if (is_dir && *p == '\0')
		*is_dir = c.slashes;
}

/* The last component is not walked: it is handed out. */
static int walk_last(const struct walk *w, const struct walk_part *c, char *last, bool *is_dir)
{
	if (!name_is_dir(w->at))
		return err_set(-ENOTDIR, "inode %llu is not a directory", (unsigned long long)w->at->ino.v);
	memcpy(last, w->p, c->len);
	last[c->len] = '\0';
	if (is_dir)
		*is_dir = c->slashes;
	return 0;
}

static int walk_run(struct walk *w, unsigned flags, char *last, bool *is_dir)
{
	bool done = false;

	while (!done && *w->p != '\0') {
		struct walk_part c = {0};
		int err = walk_part(w->p, &c);

		if (err)
			return err;
		if (c.last && flags & WALK_PARENT)
			return walk_last(w, &c, last, is_dir);
		if (c.last && is_dir)
			*is_dir = c.slashes;
		err = walk_step(w, &c, flags, &done);
		if (err)
			return err;
	}
	return 0;
}

int name_walk(struct fs *fs, struct inode *start, const char *path, unsigned flags, struct inode **out, char *last, bool *is_dir)
{
	struct walk w;
	int err = 0;

	*out = NULL;
	if (is_dir)
		*is_dir = false;
	if (flags & WALK_PARENT)
		last[0] = '\0';
	if (path[0] == '\0')
		return err_set(-ENOENT, "the path is empty");
	if (strnlen(path, NAME_PATH_MAX + 1) > NAME_PATH_MAX)
		return err_set(-ENAMETOOLONG, "a path has at most %u bytes", NAME_PATH_MAX);
	w.fs = fs;
	w.p = path;
	w.links = 0;
	w.at = NULL;
	if (start && path[0] != '/') {
		inode_ref(start);
		w.at = start;
	}
	w.p += strspn(w.p, "/");
	walk_cached(&w, flags, is_dir);
	if (!w.at)
		err = walk_to_root(&w);
	if (!err)
		err = walk_run(&w, flags, last, is_dir);
	if (err) {
		inode_put(w.at);
		return err;
	}
	*out = w.at;
	return 0;
}
