/* holdfast put: imports trees. A file appears under its name only when it is complete: it is written unnamed, then linked. So
 * an import that was killed can be run again; what is there with the same size and time is left alone. */
#include "links.h"
#include "tool.h"
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PUT_BUF (2u << 20)		/* one frame: whole frames become huge leaves */

struct put {
	hf_volume *vol;
	bool verbose, json, no_msync;
	char *buf, *value;
	struct links links;
	struct progress bar;
	uint64_t files, dirs, others, skipped, bytes, failed;
};

static bool put_option(void *ctx, char letter, const char *name, const char *arg)
{
	struct put *p = ctx;

	(void)name;
	(void)arg;
	if (letter == 'v')
		p->verbose = true;
	else
		p->no_msync = true;
	return true;
}

static void put_failed(struct put *p, int err, const char *path)
{
	progress_end(&p->bar);
	tool_fail(err, "%s", path);
	p->failed++;
}

/* The source could not be read: errno's sentence, not the library's. */
static void put_source_failed(struct put *p, int err, const char *path)
{
	progress_end(&p->bar);
	tool_error("%s: %s", path, strerror(err));
	p->failed++;
}

static struct hf_setattr put_attr(const struct stat *st)
{
	return (struct hf_setattr){
		.set = HF_SET_MODE | HF_SET_UID | HF_SET_GID | HF_SET_ATIME | HF_SET_MTIME,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.atime_ns = st->st_atim.tv_sec * 1000000000ll + st->st_atim.tv_nsec,
		.mtime_ns = st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec,
	};
}

/* Extended attributes of 'from' to the open file, or to the path 'to' when file is NULL. */
static int put_xattrs(struct put *p, const char *from, hf_file *file, const char *to)
{
	char names[65536], *name;
	ssize_t n = llistxattr(from, names, sizeof(names)), len;
	int err = 0;

	if (n < 0)
		return errno == ENOTSUP || errno == EPERM ? 0 : -errno;
	for (name = names; !err && name < names + n; name += strlen(name) + 1) {
		len = lgetxattr(from, name, p->value, 65536);
		if (len < 0)
			continue;		/* it went, or may not be read */
		err = file ? hf_fsetxattr(file, name, p->value, (size_t)len, 0)
			   : hf_lsetxattr(p->vol, to, name, p->value, (size_t)len, 0);
		if (err == -EOPNOTSUPP)
			err = 0;		/* not one of the four name spaces */
	}
	return err;
}

/* Copies [off, end) of fd, which holds data. 0, a negative errno of the volume, or a positive errno of the source. */
static int put_range(struct put *p, int fd, hf_file *file, uint64_t off, uint64_t end)
{
	while (off < end) {
		size_t want = PUT_BUF - off % PUT_BUF;	/* keep to whole frames */
		ssize_t got, n;

		if (want > end - off)
			want = (size_t)(end - off);
		got = pread(fd, p->buf, want, (off_t)off);
		if (got < 0)
			return errno;
		if (got == 0)
			return 0;		/* it became shorter */
		n = hf_pwrite(file, p->buf, (size_t)got, off);
		if (n != got)
			return n < 0 ? (int)n : -ENOSPC;
		off += (uint64_t)got;
		p->bytes += (uint64_t)got;
	}
	return 0;
}

static int put_content(struct put *p, int fd, const struct stat *st, hf_file *file)
{
	uint64_t size = (uint64_t)st->st_size;
	off_t data = 0, hole;
	int err = 0;

	while (!err && (uint64_t)data < size) {
		off_t from = data;

		data = lseek(fd, from, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;			/* a hole to its end */
		if (data < 0)
			data = from;		/* a file system that tells no holes */
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole <= data || (uint64_t)hole > size)
			hole = (off_t)size;
		err = put_range(p, fd, file, (uint64_t)data, (uint64_t)hole);
		data = hole;
	}
	return err ? err : hf_ftruncate(file, size);
}

/* Gives the finished file its name, in the place of what has it now. The name in between is in the root, so that it is never too
 * long, and one that nothing has. */
static int put_publish(struct put *p, hf_file *file, const char *to)
{
	char tmp[64];
	unsigned i = 0;
	int err = hf_flink(file, to);

	if (err != -EEXIST)
		return err;
	do {
		snprintf(tmp, sizeof(tmp), "/.holdfast-put.%u", i++);
		err = hf_flink(file, tmp);
	} while (err == -EEXIST && i < 1000);
	if (err)
		return err;
	err = hf_rename(p->vol, tmp, to, 0);
	if (err)
		hf_unlink(p->vol, tmp);
	return err;
}

static bool put_is_there(struct put *p, const struct stat *st, const char *to)
{
	struct hf_setattr want = put_attr(st);
	struct hf_stat have;

	return hf_lstat(p->vol, to, &have) == 0 && S_ISREG(have.mode) && have.size == (uint64_t)st->st_size &&
	       have.mtime_ns == want.mtime_ns && have.mode == st->st_mode && have.uid == want.uid && have.gid == want.gid;
}

static void put_file(struct put *p, const char *from, const struct stat *st, const char *to)
{
	struct hf_setattr attr = put_attr(st);
	hf_file *file;
	int err, fd;

	if (put_is_there(p, st, to)) {
		p->skipped++;
		return;
	}
	fd = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		put_source_failed(p, errno, from);
		return;
	}
	err = hf_open(p->vol, "/", HF_O_RDWR | HF_O_TMPFILE, 0600, &file);
	if (!err) {
		err = put_content(p, fd, st, file);
		if (!err)
			err = put_xattrs(p, from, file, NULL);
		if (!err)
			err = hf_fsetattr(file, &attr);
		if (!err)
			err = put_publish(p, file, to);
		hf_close(&file);
	}
	close(fd);
	if (err > 0)
		put_source_failed(p, err, from);
	else if (err)
		put_failed(p, err, to);
	else
		p->files++;
}

static void put_symlink(struct put *p, const char *from, const struct stat *st, const char *to)
{
	struct hf_setattr attr = put_attr(st);
	char want[4096], have[4096];
	ssize_t n = readlink(from, want, sizeof(want) - 1);
	struct hf_stat is;
	bool same;
	int err;

	if (n < 0) {
		put_source_failed(p, errno, from);
		return;
	}
	want[n] = 0;
	same = hf_readlink(p->vol, to, have, sizeof(have)) == n && !memcmp(have, want, (size_t)n);
	if (same && hf_lstat(p->vol, to, &is) == 0 && is.mtime_ns == attr.mtime_ns && is.uid == attr.uid && is.gid == attr.gid) {
		p->skipped++;
		return;
	}
	if (!same)
		hf_unlink(p->vol, to);
	err = same ? 0 : hf_symlink(p->vol, want, to);
	if (!err)
		err = put_xattrs(p, from, NULL, to);
	attr.set &= ~(unsigned)HF_SET_MODE;
	if (!err)
		err = hf_setattr(p->vol, to, &attr, false);
	if (err)
		put_failed(p, err, to);
	else
		p->others++;
}

static void put_special(struct put *p, const char *from, const struct stat *st, const char *to)
{
	struct hf_setattr attr = put_attr(st);
	int err;

	hf_unlink(p->vol, to);
	err = hf_mknod(p->vol, to, st->st_mode, st->st_rdev);
	if (!err)
		err = put_xattrs(p, from, NULL, to);
	if (!err)
		err = hf_setattr(p->vol, to, &attr, false);
	if (err)
		put_failed(p, err, to);
	else
		p->others++;
}

/* Another name of an inode that was met before. */
static void put_link(struct put *p, const char *first, const char *to)
{
	struct hf_stat a, b;
	int err;

	if (hf_lstat(p->vol, first, &a) == 0 && hf_lstat(p->vol, to, &b) == 0 && a.id.ino == b.id.ino) {
		p->skipped++;
		return;
	}
	hf_unlink(p->vol, to);
	err = hf_link(p->vol, first, to);
	if (err)
		put_failed(p, err, to);
	else
		p->files++;
}

static bool put_mkdir(struct put *p, const char *to)
{
	struct hf_stat st;
	int err = hf_mkdir(p->vol, to, 0700);

	if (err == -EEXIST && hf_stat(p->vol, to, &st) == 0 && S_ISDIR(st.mode))
		err = 0;
	else if (!err)
		p->dirs++;
	if (err)
		put_failed(p, err, to);
	return err == 0;
}

/* After its content: its times would not stay otherwise. */
static void put_dir_attr(struct put *p, const char *from, const struct stat *st, const char *to)
{
	struct hf_setattr attr = put_attr(st);
	int err = put_xattrs(p, from, NULL, to);

	if (!err)
		err = hf_setattr(p->vol, to, &attr, false);
	if (err)
		put_failed(p, err, to);
}

static void put_entry(struct put *p, FTS *fts, FTSENT *e, const char *to)
{
	const struct stat *st = e->fts_statp;
	uint64_t failed = p->failed;
	const char *first;

	switch (e->fts_info) {
	case FTS_D:
		if (!put_mkdir(p, to))
			fts_set(fts, e, FTS_SKIP);
		return;
	case FTS_DP:
		put_dir_attr(p, e->fts_accpath, st, to);
		break;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		put_source_failed(p, e->fts_errno, e->fts_path);
		return;
	default:
		first = st->st_nlink > 1 ? links_find(&p->links, (uint64_t)st->st_dev, (uint64_t)st->st_ino) : NULL;
		/* It was not imported, or a later SOURCE has put another in its place. */
		if (first && S_ISREG(st->st_mode) && !put_is_there(p, st, first))
			first = NULL;
		if (first)
			put_link(p, first, to);
		else if (S_ISREG(st->st_mode))
			put_file(p, e->fts_accpath, st, to);
		else if (S_ISLNK(st->st_mode))
			put_symlink(p, e->fts_accpath, st, to);
		else
			put_special(p, e->fts_accpath, st, to);
		if (st->st_nlink > 1 && !first && links_add(&p->links, (uint64_t)st->st_dev, (uint64_t)st->st_ino, to))
			put_source_failed(p, ENOMEM, to);
	}
	if (p->verbose && p->failed == failed) {
		puts(to);
		fflush(stdout);		/* who reads it may count on it: the file is durable */
	}
}

/* Imports the tree at 'source' as the volume's path 'base' ("" is the root). */
static void put_tree(struct put *p, char *source, const char *base)
{
	char *roots[] = {source, NULL};
	size_t strip = strcmp(source, "/") ? strlen(source) : 0;
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	char to[4096];
	FTSENT *e;

	if (!fts) {
		put_source_failed(p, errno, source);
		return;
	}
	for (;;) {
		errno = 0;
		e = fts_read(fts);
		if (!e)
			break;
		if ((size_t)snprintf(to, sizeof(to), "%s%s", base, e->fts_path + strip) >= sizeof(to)) {
			put_source_failed(p, ENAMETOOLONG, e->fts_path);
			fts_set(fts, e, FTS_SKIP);
			continue;
		}
		put_entry(p, fts, e, *to ? to : "/");
		progress_update(&p->bar, p->files + p->dirs + p->others + p->skipped, 0, "files");
	}
	if (errno)
		put_source_failed(p, errno, source);
	fts_close(fts);
}

/* Where 'source' goes: below dest when that is a directory (then by its own name, unless that is '.' or '..'). */
static int put_target(struct put *p, char *source, const char *dest, char *out, size_t size)
{
	size_t n = strlen(source);
	const char *base;
	struct hf_stat st;
	bool dir;

	while (n > 1 && source[n - 1] == '/')
		source[--n] = 0;
	base = strrchr(source, '/');
	base = base ? base + 1 : source;
	dir = hf_stat(p->vol, dest, &st) == 0 && S_ISDIR(st.mode);
	if (!*dest)
		return -ENOENT;
	if (!dir || !strcmp(base, ".") || !strcmp(base, "..") || !*base)
		n = (size_t)snprintf(out, size, "%s", dest);
	else
		n = (size_t)snprintf(out, size, "%s%s%s", dest, dest[strlen(dest) - 1] == '/' ? "" : "/", base);
	if (n >= size)
		return -ENAMETOOLONG;
	while (n > 0 && out[n - 1] == '/')
		out[--n] = 0;
	return 0;
}

static int put_all(struct put *p, int argc, char **argv)
{
	const char *dest = argv[argc - 1];
	char base[4096];
	struct hf_stat st;
	int i, err;

	if (argc - optind > 3 && (hf_stat(p->vol, dest, &st) != 0 || !S_ISDIR(st.mode)))
		return tool_usage("%s: with several sources, DEST must be a directory", dest);
	for (i = optind + 1; i < argc - 1; i++) {
		err = put_target(p, argv[i], dest, base, sizeof(base));
		if (err)
			put_source_failed(p, -err, argv[i]);
		else
			put_tree(p, argv[i], base);
	}
	progress_end(&p->bar);
	if (p->json)
		tool_json_print(json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "files", (json_int_t)p->files, "directories",
					  (json_int_t)p->dirs, "others", (json_int_t)p->others, "skipped", (json_int_t)p->skipped,
					  "bytes", (json_int_t)p->bytes, "failed", (json_int_t)p->failed));
	else
		fprintf(stderr, "%" PRIu64 " files, %" PRIu64 " directories, %" PRIu64 " others imported, %" PRIu64
				" already there, %" PRIu64 " failed\n", p->files, p->dirs, p->others, p->skipped, p->failed);
	return p->failed ? EXIT_FAILED : EXIT_OK;
}

int cmd_put(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"verbose", 'v', false, "print each path once it is durable in the volume"},
		{"no-msync", 0, false, "a file not on DAX: skip msync; faster, survives kill -9 but not a power failure"},
		{0},
	};
	struct put p = {0};
	int status = tool_options(argc, argv, "[-v] [--json] [--no-msync] VOLUME SOURCE... DEST",
				  "Imports files and trees: content, holes, modes, owners, times, symbolic and hard links, special files,\n"
				  "extended attributes. A file appears under its name only when it is complete. Can be run again after it\n"
				  "was killed: a file that is there with the same size, time, mode and owner is left alone.",
				  options, true, put_option, &p, &p.json);

	if (status >= 0)
		return status;
	if (argc - optind < 3)
		return tool_usage("VOLUME, SOURCE and DEST are needed");
	p.buf = aligned_alloc(4096, PUT_BUF);
	p.value = malloc(65536);
	p.vol = p.buf && p.value ? tool_mount(argv[optind], p.no_msync ? HF_MOUNT_NO_MSYNC : 0) : NULL;
	if (p.vol) {
		progress_begin(&p.bar, "import", !p.json && !p.verbose);
		status = put_all(&p, argc, argv);
		status = tool_unmount(&p.vol, status);
	} else {
		status = EXIT_FAILED;
	}
	links_free(&p.links);
	free(p.buf);
	free(p.value);
	return status;
}
