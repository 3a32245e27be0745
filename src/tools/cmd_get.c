/* holdfast get: exports trees. Nothing in the volume can make it write outside the destination: names with '/', '.' and '..' are
 * refused, every directory is opened relative to its parent and never through a symbolic link, and owner, mode and the like go to
 * what was made, by descriptor: who swaps a name meanwhile gains nothing. A directory that a damaged volume has twice (or within
 * itself) is exported once. */
#include "links.h"
#include "tool.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define GET_BUF (2u << 20)

/* A directory that is being exported; the stack of them replaces recursion. */
struct get_level {
	hf_dir *dir;
	struct hf_stat st;
	int fd;				/* of the directory on the host */
	size_t path_len;		/* of get.path, up to and with this directory */
};

struct get {
	hf_volume *vol;
	bool verbose, json;
	char *buf, *value, *path;	/* path: where we are, for messages and hard links; relative to dest_fd's name */
	size_t path_size;
	int dest_fd;			/* hard links are made relative to it */
	struct get_level *stack;
	size_t depth, max_depth;
	struct links links, seen;	/* seen: the directories of this source */
	struct progress bar;
	uint64_t files, dirs, others, bytes, failed;
};

static bool get_option(void *ctx, char letter, const char *name, const char *arg)
{
	struct get *g = ctx;

	(void)letter;
	(void)name;
	(void)arg;
	g->verbose = true;
	return true;
}

static void get_failed(struct get *g, int err)
{
	progress_end(&g->bar);
	tool_fail(err, "%s", g->path);
	g->failed++;
}

static void get_host_failed(struct get *g, int err, const char *what)
{
	progress_end(&g->bar);
	tool_error("%s: %s: %s", g->path, what, strerror(err));
	g->failed++;
}

/* path = its first 'keep' bytes + "/" + name */
static bool get_push_name(struct get *g, size_t keep, const char *name)
{
	size_t need = keep + strlen(name) + 2;
	char *bigger;

	if (need > g->path_size) {
		bigger = realloc(g->path, need * 2);
		if (!bigger)
			return false;
		g->path = bigger;
		g->path_size = need * 2;
	}
	snprintf(g->path + keep, g->path_size - keep, "%s%s", keep && g->path[keep - 1] != '/' ? "/" : "", name);
	return true;
}

static void get_xattrs(struct get *g, const struct hf_stat *st, const char *proc)
{
	ssize_t n = hf_inode_listxattr(g->vol, st->id, NULL, 0), len;
	char *names, *x;

	if (n <= 0)
		return;
	names = malloc((size_t)n);
	if (!names)
		return get_host_failed(g, ENOMEM, "attributes");
	n = hf_inode_listxattr(g->vol, st->id, names, (size_t)n);
	for (x = names; n > 0 && x < names + n; x += strlen(x) + 1) {
		len = hf_inode_getxattr(g->vol, st->id, x, g->value, 65536);
		if (len < 0)
			get_failed(g, (int)len);
		else if (setxattr(proc, x, g->value, (size_t)len, 0) < 0)
			get_host_failed(g, errno, x);
	}
	free(names);
}

static struct timespec get_timespec(int64_t ns)
{
	struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000;
		t.tv_sec--;
	}
	return t;
}

/* Owner, attributes (while it can still be written to), mode (changing the owner clears setuid), then times. Where the owner could
 * not be changed, setuid would mean another user. fd is what was made, a symbolic link itself too (O_PATH): only the kernel's link
 * to it takes mode and attributes then. */
static void get_attr(struct get *g, const struct hf_stat *st, int fd)
{
	struct timespec times[2] = {get_timespec(st->atime_ns), get_timespec(st->mtime_ns)};
	mode_t mode = st->mode & 07777;
	char proc[64];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (fchownat(fd, "", st->uid, st->gid, AT_EMPTY_PATH) < 0) {
		if (geteuid() == 0)
			get_host_failed(g, errno, "owner");
		mode &= ~(mode_t)(S_ISUID | S_ISGID);
	}
	get_xattrs(g, st, proc);
	if (!S_ISLNK(st->mode) && chmod(proc, mode) < 0)
		get_host_failed(g, errno, "mode");
	if (utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
		get_host_failed(g, errno, "times");
}

static int get_range(struct get *g, hf_file *file, int fd, uint64_t off, uint64_t end)
{
	while (off < end) {
		size_t want = end - off < GET_BUF ? (size_t)(end - off) : GET_BUF;
		ssize_t n = hf_pread(file, g->buf, want, off), done = 0, w;

		if (n <= 0)
			return (int)n;
		for (; done < n; done += w) {
			w = pwrite(fd, g->buf + done, (size_t)(n - done), (off_t)off + done);
			if (w < 0)
				return errno;
		}
		off += (uint64_t)n;
		g->bytes += (uint64_t)n;
	}
	return 0;
}

static int get_content(struct get *g, const struct hf_stat *st, int fd)
{
	int64_t data = 0, hole;
	hf_file *file;
	int err = hf_inode_open(g->vol, st->id, HF_O_RDONLY, &file);

	if (err)
		return err;
	while (!err && (uint64_t)data < st->size) {
		data = hf_seek(file, (uint64_t)data, SEEK_DATA);
		if (data < 0) {
			err = data == -ENXIO ? 0 : (int)data;
			break;
		}
		hole = hf_seek(file, (uint64_t)data, SEEK_HOLE);
		err = hole < 0 ? (int)hole : get_range(g, file, fd, (uint64_t)data, (uint64_t)hole);
		data = hole;
	}
	hf_close(&file);
	if (!err && ftruncate(fd, (off_t)st->size) < 0)
		err = errno;
	return err;
}

static void get_file(struct get *g, const struct hf_stat *st, int dirfd, const char *name)
{
	int err, fd;

	unlinkat(dirfd, name, 0);
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return get_host_failed(g, errno, "create");
	err = get_content(g, st, fd);
	if (err > 0)
		get_host_failed(g, err, "write");
	else if (err)
		get_failed(g, err);
	else
		get_attr(g, st, fd);
	g->files += err == 0;
	close(fd);
}

static void get_other(struct get *g, const struct hf_stat *st, int dirfd, const char *name)
{
	char target[4096];
	struct stat made;
	ssize_t n;
	int r, fd;

	unlinkat(dirfd, name, 0);
	if (S_ISLNK(st->mode)) {
		n = hf_inode_readlink(g->vol, st->id, target, sizeof(target) - 1);
		if (n < 0)
			return get_failed(g, (int)n);
		target[n] = 0;
		r = symlinkat(target, dirfd, name);
	} else {
		r = mknodat(dirfd, name, (st->mode & S_IFMT) | 0600, st->rdev);
	}
	if (r < 0)
		return get_host_failed(g, errno, "create");
	fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return get_host_failed(g, errno, "open");
	if (fstat(fd, &made) < 0 || (made.st_mode & S_IFMT) != (st->mode & S_IFMT))
		get_host_failed(g, EEXIST, "somebody put something else in its place");
	else
		get_attr(g, st, fd);
	g->others++;
	close(fd);
}

/* Makes or enters the directory 'name' and puts it on the stack. */
static void get_enter(struct get *g, const struct hf_stat *st, int dirfd, const char *name)
{
	struct get_level *l;
	int err, fd;

	if (links_find(&g->seen, st->id.ino, st->id.gen))
		return get_host_failed(g, ELOOP, "the volume has this directory twice, run fsck.holdfast");
	if (links_add(&g->seen, st->id.ino, st->id.gen, ""))
		return get_host_failed(g, ENOMEM, "directories");
	if (g->depth == g->max_depth)
		return get_host_failed(g, ELOOP, "directories too deep: raise 'ulimit -n'");
	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return get_host_failed(g, errno, "mkdir");
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return get_host_failed(g, errno, "open");
	l = &g->stack[g->depth];
	*l = (struct get_level){.st = *st, .fd = fd, .path_len = strlen(g->path)};
	err = hf_inode_opendir(g->vol, st->id, &l->dir);
	if (err) {
		close(fd);
		return get_failed(g, err);
	}
	g->depth++;
}

static void get_leave(struct get *g)
{
	struct get_level *l = &g->stack[--g->depth];

	g->path[l->path_len] = 0;
	hf_closedir(&l->dir);
	get_attr(g, &l->st, l->fd);
	close(l->fd);
	g->dirs++;
}

/* True when 'name' is a further name of an inode that was exported before: then it is linked. */
static bool get_link(struct get *g, const struct hf_stat *st, int dirfd, const char *name)
{
	const char *first = st->nlink > 1 && !S_ISDIR(st->mode) ? links_find(&g->links, st->id.ino, st->id.gen) : NULL;

	if (!first)
		return false;
	unlinkat(dirfd, name, 0);
	if (linkat(g->dest_fd, first, dirfd, name, 0) < 0)
		get_host_failed(g, errno, "link");
	else
		g->files++;
	return true;
}

static void get_inode(struct get *g, const struct hf_stat *st, int dirfd, const char *name)
{
	if (S_ISDIR(st->mode))
		return get_enter(g, st, dirfd, name);
	if (get_link(g, st, dirfd, name))
		return;
	if (S_ISREG(st->mode))
		get_file(g, st, dirfd, name);
	else
		get_other(g, st, dirfd, name);
	if (st->nlink > 1 && links_add(&g->links, st->id.ino, st->id.gen, g->path))
		get_host_failed(g, ENOMEM, "links");
}

static void get_print(const struct get *g)
{
	size_t room = 4 * strlen(g->path) + 8;
	char *quoted = malloc(room);

	puts(quoted ? tool_quote(g->path, quoted, room) : "?");
	free(quoted);
}

/* Exports what is on the stack, to its end. */
static void get_run(struct get *g)
{
	while (g->depth > 0) {
		struct get_level *l = &g->stack[g->depth - 1];
		struct hf_dirent e;
		struct hf_stat st;
		int err = hf_readdir(l->dir, &e);

		g->path[l->path_len] = 0;
		if (err < 0)
			get_failed(g, err);
		if (err <= 0) {
			get_leave(g);
			continue;
		}
		if (!strcmp(e.name, ".") || !strcmp(e.name, ".."))
			continue;
		if (!get_push_name(g, l->path_len, e.name)) {
			get_host_failed(g, ENOMEM, "path");
			continue;
		}
		if (!*e.name || strchr(e.name, '/')) {
			get_host_failed(g, EINVAL, "a name that no directory may hold");
			continue;
		}
		err = hf_inode_lookup(g->vol, l->st.id, e.name, &st);
		if (err) {
			get_failed(g, err);
			continue;
		}
		get_inode(g, &st, l->fd, e.name);
		if (g->verbose)
			get_print(g);
		progress_update(&g->bar, g->files + g->dirs + g->others, 0, "files");
	}
}

/* Slashes at the end say nothing here. */
static void get_strip(char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
}

/* One SOURCE: into dest if that is a directory (by its own name, unless it is the root, '.' or '..'), else as dest. */
static void get_source(struct get *g, const char *source, const char *dest)
{
	char parent[4096], own[256];
	const char *base = strrchr(source, '/');
	struct hf_stat st;
	struct stat host;
	char *slash;
	int err = hf_lstat(g->vol, source, &st);

	get_push_name(g, 0, source);
	if (err)
		return get_failed(g, err);
	base = base ? base + 1 : source;
	if ((size_t)snprintf(parent, sizeof(parent), "%s", dest) >= sizeof(parent))
		return get_host_failed(g, ENAMETOOLONG, dest);
	if (stat(dest, &host) != 0 || !S_ISDIR(host.st_mode)) {
		slash = strrchr(parent, '/');
		base = slash ? strrchr(dest, '/') + 1 : dest;
		snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - parent) + 1 : 1, slash ? dest : ".");
	} else if (!*base || !strcmp(base, "..")) {
		base = ".";
	}
	if ((size_t)snprintf(own, sizeof(own), "%s", base) >= sizeof(own))
		return get_host_failed(g, ENAMETOOLONG, base);
	g->dest_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->dest_fd < 0)
		return get_host_failed(g, errno, parent);
	links_free(&g->links);
	links_free(&g->seen);
	get_push_name(g, 0, own);
	get_inode(g, &st, g->dest_fd, own);
	get_run(g);
	close(g->dest_fd);
}

/* As many levels as there may be file descriptors. */
static bool get_stack(struct get *g)
{
	struct rlimit lim;

	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	g->max_depth = lim.rlim_cur > 65536 ? 65536 : (size_t)lim.rlim_cur;
	g->max_depth -= g->max_depth > 64 ? 32 : 0;
	g->stack = calloc(g->max_depth, sizeof(*g->stack));
	return g->stack != NULL;
}

int cmd_get(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"verbose", 'v', false, "print each path"},
		{0},
	};
	struct get g = {0};
	struct stat host;
	int i, status = tool_options(argc, argv, "[-v] [--json] VOLUME SOURCE... DEST",
				     "Exports files and trees: content, holes, modes, owners, times, links, special files, extended\n"
				     "attributes. A SOURCE of / exports the whole volume. Existing files are replaced.",
				     options, true, get_option, &g, &g.json);

	if (status >= 0)
		return status;
	if (argc - optind < 3)
		return tool_usage("VOLUME, SOURCE and DEST are needed");
	get_strip(argv[argc - 1]);
	if (argc - optind > 3 && (stat(argv[argc - 1], &host) != 0 || !S_ISDIR(host.st_mode)))
		return tool_usage("%s: with several sources, DEST must be a directory", argv[argc - 1]);
	g.buf = malloc(GET_BUF);
	g.value = malloc(65536);
	g.vol = g.buf && g.value && get_stack(&g) && get_push_name(&g, 0, "") ? tool_mount_to_look(argv[optind]) : NULL;
	status = EXIT_FAILED;
	if (g.vol) {
		umask(0);
		progress_begin(&g.bar, "export", !g.json && !g.verbose);
		for (i = optind + 1; i < argc - 1; i++) {
			get_strip(argv[i]);
			get_source(&g, argv[i], argv[argc - 1]);
		}
		progress_end(&g.bar);
		if (g.json)
			tool_json_print(json_pack("{s:I,s:I,s:I,s:I,s:I}", "files", (json_int_t)g.files, "directories",
						  (json_int_t)g.dirs, "others", (json_int_t)g.others, "bytes", (json_int_t)g.bytes,
						  "failed", (json_int_t)g.failed));
		else
			fprintf(stderr, "%" PRIu64 " files, %" PRIu64 " directories, %" PRIu64 " others exported, %" PRIu64 " failed\n",
				g.files, g.dirs, g.others, g.failed);
		status = tool_unmount(&g.vol, g.failed ? EXIT_FAILED : EXIT_OK);
	}
	links_free(&g.links);
	links_free(&g.seen);
	free(g.stack);
	free(g.path);
	free(g.buf);
	free(g.value);
	return status;
}
