/* holdfast ls, cat, mkdir, rm, mv, ln, truncate, punch: one POSIX call each, more or less. */
#include "tool.h"
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct flags {
	bool l, a, r, f, p, s, R;
	uint64_t mode;
	bool have_mode;
};

static bool flags_option(void *ctx, char letter, const char *name, const char *arg)
{
	struct flags *f = ctx;

	(void)name;
	switch (letter) {
	case 'l': f->l = true; return true;
	case 'a': f->a = true; return true;
	case 'r': f->r = true; return true;
	case 'R': f->R = true; return true;
	case 'f': f->f = true; return true;
	case 'p': f->p = true; return true;
	case 's': f->s = true; return true;
	case 'm':
		f->have_mode = true;
		return tool_parse_number(arg, 8, 07777, &f->mode);
	default: return false;
	}
}

/* All but the root's. */
static void strip_slashes(char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
}

/* The last component; strip_slashes first. */
static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "dir" + "/" + "name" into out; false if it is too long. */
static bool join(char *out, size_t size, const char *dir, const char *name)
{
	size_t n = strlen(dir);

	return (size_t)snprintf(out, size, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name) < size;
}

static json_t *stat_json(const char *name, const struct hf_stat *st)
{
	return json_pack("{s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "name", tool_json_name(name), "inode", (json_int_t)st->id.ino,
			 "mode", (json_int_t)st->mode, "links", (json_int_t)st->nlink, "uid", (json_int_t)st->uid, "gid",
			 (json_int_t)st->gid, "size", (json_int_t)st->size, "blocks_512", (json_int_t)st->blocks_512, "mtime_ns",
			 (json_int_t)st->mtime_ns, "ctime_ns", (json_int_t)st->ctime_ns);
}

static int ls_line(hf_volume *vol, const char *path, const char *name, const struct flags *f, json_t *list)
{
	char mode[11], when[48], quoted[4 * 4096], target[4096];
	struct hf_stat st;
	ssize_t n;
	int err;

	if (!f->l && !list) {
		puts(tool_quote(name, quoted, sizeof(quoted)));
		return EXIT_OK;
	}
	err = hf_lstat(vol, path, &st);
	if (err)
		return tool_fail(err, "%s", path);
	if (list) {
		json_array_append_new(list, stat_json(name, &st));
		return EXIT_OK;
	}
	printf("%s %4u %5u %5u %12" PRIu64 " %.19s %s", tool_mode(st.mode, mode), st.nlink, st.uid, st.gid, st.size,
	       tool_time(st.mtime_ns, when), tool_quote(name, quoted, sizeof(quoted)));
	if (S_ISLNK(st.mode)) {
		n = hf_readlink(vol, path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		printf(" -> %s", tool_quote(target, quoted, sizeof(quoted)));
	}
	putchar('\n');
	return EXIT_OK;
}

static int ls_dir(hf_volume *vol, const char *path, const struct flags *f, json_t *list)
{
	struct hf_dirent e;
	char child[4096];
	hf_dir *dir;
	int err = hf_opendir(vol, path, &dir), status = EXIT_OK;

	if (err)
		return tool_fail(err, "%s", path);
	for (;;) {
		err = hf_readdir(dir, &e);
		if (err <= 0)
			break;
		if (!f->a && (!strcmp(e.name, ".") || !strcmp(e.name, "..")))
			continue;
		if (!join(child, sizeof(child), path, e.name) || ls_line(vol, child, e.name, f, list) != EXIT_OK)
			status = EXIT_FAILED;
	}
	if (err < 0)
		status = tool_fail(err, "%s", path);
	hf_closedir(&dir);
	return status;
}

int cmd_ls(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"long", 'l', false, "mode, links, owner, size, time"},
		{"all", 'a', false, "'.' and '..' too"},
		{0},
	};
	struct flags f = {0};
	bool json = false;
	int i, status = tool_options(argc, argv, "[-la] [--json] VOLUME [PATH...]",
				     "Lists directories (default: the root) in the order of their hash.", options, true, flags_option, &f,
				     &json);
	char *root[] = {(char[]){"/"}};
	struct hf_stat st;
	hf_volume *vol;
	json_t *list;

	if (status >= 0)
		return status;
	if (argc - optind < 1)
		return tool_usage("a VOLUME is needed");
	vol = tool_mount_to_look(argv[optind]);
	if (!vol)
		return EXIT_FAILED;
	list = json ? json_array() : NULL;
	status = EXIT_OK;
	argv = argc - optind > 1 ? argv + optind + 1 : root;
	argc = argc - optind > 1 ? argc - optind - 1 : 1;
	for (i = 0; i < argc; i++) {
		int err = hf_stat(vol, argv[i], &st), one;

		if (err == -ENOENT)
			err = hf_lstat(vol, argv[i], &st);
		if (err)
			one = tool_fail(err, "%s", argv[i]);
		else if (S_ISDIR(st.mode))
			one = ls_dir(vol, argv[i], &f, list);
		else
			one = ls_line(vol, argv[i], argv[i], &f, list);
		status = one ? one : status;
	}
	if (list)
		tool_json_print(list);
	return tool_unmount(&vol, status);
}

static int cat_one(hf_volume *vol, const char *path, char *buf, size_t size)
{
	uint64_t off = 0;
	hf_file *file;
	ssize_t n;
	int err = hf_open(vol, path, HF_O_RDONLY, 0, &file);

	if (err)
		return tool_fail(err, "%s", path);
	for (;;) {
		n = hf_pread(file, buf, size, off);
		if (n <= 0 || fwrite(buf, 1, (size_t)n, stdout) != (size_t)n)
			break;
		off += (uint64_t)n;
	}
	err = n < 0 ? tool_fail((int)n, "%s", path) : tool_finish(EXIT_OK); /* before the close, which has its own sentence */
	hf_close(&file);
	return err;
}

/* Runs one(vol, path) for each operand behind the volume; look: they change nothing. */
static int for_each_path(int argc, char **argv, bool look, int (*one)(hf_volume *, const char *, void *), void *ctx)
{
	hf_volume *vol;
	int i, status = EXIT_OK;

	if (argc - optind < 2)
		return tool_usage("VOLUME and PATH are needed");
	vol = look ? tool_mount_to_look(argv[optind]) : tool_mount(argv[optind], 0);
	if (!vol)
		return EXIT_FAILED;
	for (i = optind + 1; i < argc; i++)
		if (one(vol, argv[i], ctx) != EXIT_OK)
			status = EXIT_FAILED;
	return tool_unmount(&vol, status);
}

static int cat_path(hf_volume *vol, const char *path, void *ctx)
{
	return cat_one(vol, path, ctx, 1 << 20);
}

int cmd_cat(int argc, char **argv)
{
	int status = tool_options(argc, argv, "VOLUME PATH...", "Prints files, one after the other.", NULL, false, NULL, NULL, NULL);
	char *buf;

	if (status >= 0)
		return status;
	buf = malloc(1 << 20);
	if (!buf)
		return tool_fail(-ENOMEM, "cat");
	status = for_each_path(argc, argv, true, cat_path, buf);
	free(buf);
	return status;
}

static int mkdir_parents(hf_volume *vol, const char *path, uint32_t mode)
{
	char part[4096], *slash = part;
	struct hf_stat st;
	int err;

	if (strlen(path) >= sizeof(part))
		return -ENAMETOOLONG;
	if (!*path)
		return -ENOENT;
	strcpy(part, path);
	strip_slashes(part);
	for (;;) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = 0;
		err = hf_mkdir(vol, part, slash ? 0755 : mode);
		if (err == -EEXIST && hf_stat(vol, part, &st) == 0 && S_ISDIR(st.mode))
			err = 0;
		if (err || !slash)
			return err;
		*slash = '/';
	}
}

static int mkdir_path(hf_volume *vol, const char *path, void *ctx)
{
	const struct flags *f = ctx;
	uint32_t mode = f->have_mode ? (uint32_t)f->mode : 0755;
	int err = f->p ? mkdir_parents(vol, path, mode) : hf_mkdir(vol, path, mode);

	return err ? tool_fail(err, "%s", path) : EXIT_OK;
}

int cmd_mkdir(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"parents", 'p', false, "make parents too; an existing directory is no error"},
		{"mode", 'm', true, "permission bits, octal (default 0755)"},
		{0},
	};
	struct flags f = {0};
	int status = tool_options(argc, argv, "[-p] [-m MODE] VOLUME PATH...", "Makes directories.", options, false, flags_option, &f,
				  NULL);

	return status >= 0 ? status : for_each_path(argc, argv, false, mkdir_path, &f);
}

/* Unlinks what is in the directory up to its first subdirectory: then *down is set and child is that one's path. */
static int rm_files(hf_volume *vol, const char *path, char child[4096], bool *down)
{
	struct hf_dirent e;
	hf_dir *dir;
	int err = hf_opendir(vol, path, &dir);

	*down = false;
	if (err)
		return err;
	for (;;) {
		err = hf_readdir(dir, &e);
		if (err <= 0)
			break;
		if (!strcmp(e.name, ".") || !strcmp(e.name, ".."))
			continue;
		err = join(child, 4096, path, e.name) ? 0 : -ENAMETOOLONG;
		*down = !err && e.type == DT_DIR;
		if (!err && !*down)
			err = hf_unlink(vol, child);
		if (err || *down)
			break;
	}
	hf_closedir(&dir);
	return err;
}

/* Removes what is below 'top' and it, without recursion: goes down to the first directory that has no subdirectory left. */
static int rm_tree(hf_volume *vol, const char *top)
{
	char path[4096], child[4096];
	size_t top_len;
	bool down;
	int err;

	if ((size_t)snprintf(path, sizeof(path), "%s", top) >= sizeof(path))
		return -ENAMETOOLONG;
	strip_slashes(path);
	top_len = strlen(path);
	for (;;) {
		err = rm_files(vol, path, child, &down);
		if (err)
			return err;
		if (down) {
			strcpy(path, child);
			continue;
		}
		err = hf_rmdir(vol, path);
		if (err || strlen(path) <= top_len)
			return err;
		*strrchr(path, '/') = 0;
	}
}

/* What rm(1) refuses: afterwards the path would not lead to what is left. */
static bool rm_refused(const char *path)
{
	char copy[4096];
	const char *last;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", path) >= sizeof(copy))
		return false;
	strip_slashes(copy);
	last = last_name(copy);
	return !strcmp(copy, "/") || !strcmp(last, ".") || !strcmp(last, "..");
}

static int rm_path(hf_volume *vol, const char *path, void *ctx)
{
	const struct flags *f = ctx;
	struct hf_stat st;
	int err = hf_lstat(vol, path, &st);

	if (!err && f->r && rm_refused(path)) {
		tool_error("%s: '/', '.' and '..' are not removed", path);
		return EXIT_FAILED;
	}
	if (!err && S_ISDIR(st.mode))
		err = f->r ? rm_tree(vol, path) : hf_unlink(vol, path);
	else if (!err)
		err = hf_unlink(vol, path);
	if (err == -ENOENT && f->f)
		return EXIT_OK;
	return err ? tool_fail(err, "%s", path) : EXIT_OK;
}

int cmd_rm(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"recursive", 'r', false, "directories and what is below them"},
		{"force", 'f', false, "what does not exist is no error"},
		{0},
	};
	struct flags f = {0};
	int status = tool_options(argc, argv, "[-rf] VOLUME PATH...", "Removes files.", options, false, flags_option, &f, NULL);

	return status >= 0 ? status : for_each_path(argc, argv, false, rm_path, &f);
}

/* The name that 'source' gets at 'dest': inside it, if it is a directory. */
static int into_directory(hf_volume *vol, const char *source, const char *dest, char *out, size_t size)
{
	char copy[4096];
	const char *base;
	struct hf_stat st;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", source) >= sizeof(copy))
		return -ENAMETOOLONG;
	strip_slashes(copy);
	base = last_name(copy);
	if (hf_stat(vol, dest, &st) == 0 && S_ISDIR(st.mode))
		return join(out, size, dest, base) ? 0 : -ENAMETOOLONG;
	return (size_t)snprintf(out, size, "%s", dest) < size ? 0 : -ENAMETOOLONG;
}

int cmd_mv(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"no-replace", 'a', false, "fail if DEST exists"},
		{"exchange", 's', false, "exchange the two"},
		{0},
	};
	struct flags f = {0};
	int err, status = tool_options(argc, argv, "[--no-replace | --exchange] VOLUME SOURCE DEST",
				       "Renames SOURCE to DEST, or into it if DEST is a directory; atomic, replaces a file.", options,
				       false, flags_option, &f, NULL);
	char to[4096];
	hf_volume *vol;

	if (status >= 0)
		return status;
	if (argc - optind != 3)
		return tool_usage("VOLUME, SOURCE and DEST are needed");
	vol = tool_mount(argv[optind], 0);
	if (!vol)
		return EXIT_FAILED;
	err = f.s ? (snprintf(to, sizeof(to), "%s", argv[optind + 2]), 0)
		  : into_directory(vol, argv[optind + 1], argv[optind + 2], to, sizeof(to));
	if (!err)
		err = hf_rename(vol, argv[optind + 1], to,
				(f.a ? HF_RENAME_NOREPLACE : 0u) | (f.s ? HF_RENAME_EXCHANGE : 0u));
	return tool_unmount(&vol, err ? tool_fail(err, "%s", argv[optind + 1]) : EXIT_OK);
}

int cmd_ln(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"symbolic", 's', false, "a symbolic link with the text TARGET"},
		{0},
	};
	struct flags f = {0};
	int err, status = tool_options(argc, argv, "[-s] VOLUME TARGET NAME", "Makes a hard link, or a symbolic one.", options, false,
				       flags_option, &f, NULL);
	char to[4096];
	hf_volume *vol;

	if (status >= 0)
		return status;
	if (argc - optind != 3)
		return tool_usage("VOLUME, TARGET and NAME are needed");
	vol = tool_mount(argv[optind], 0);
	if (!vol)
		return EXIT_FAILED;
	err = into_directory(vol, argv[optind + 1], argv[optind + 2], to, sizeof(to));
	if (!err)
		err = f.s ? hf_symlink(vol, argv[optind + 1], to) : hf_link(vol, argv[optind + 1], to);
	return tool_unmount(&vol, err ? tool_fail(err, "%s", argv[optind + 2]) : EXIT_OK);
}

int cmd_truncate(int argc, char **argv)
{
	int err, status = tool_options(argc, argv, "VOLUME PATH SIZE", "Sets a file's size; what is cut off is freed, what is added is a hole.",
				       NULL, false, NULL, NULL, NULL);
	hf_volume *vol;
	uint64_t size;

	if (status >= 0)
		return status;
	if (argc - optind != 3 || !tool_parse_size(argv[optind + 2], &size))
		return tool_usage("VOLUME, PATH and SIZE are needed");
	vol = tool_mount(argv[optind], 0);
	if (!vol)
		return EXIT_FAILED;
	err = hf_truncate(vol, argv[optind + 1], size);
	return tool_unmount(&vol, err ? tool_fail(err, "%s", argv[optind + 1]) : EXIT_OK);
}

int cmd_punch(int argc, char **argv)
{
	int err, status = tool_options(argc, argv, "VOLUME PATH OFFSET LENGTH",
				       "Punches a hole: whole blocks in the range are freed, the rest of it is zeroed; the size stays.", NULL,
				       false, NULL, NULL, NULL);
	hf_volume *vol;
	hf_file *file;
	uint64_t off, len;

	if (status >= 0)
		return status;
	if (argc - optind != 4 || !tool_parse_size(argv[optind + 2], &off) || !tool_parse_size(argv[optind + 3], &len))
		return tool_usage("VOLUME, PATH, OFFSET and LENGTH are needed");
	vol = tool_mount(argv[optind], 0);
	if (!vol)
		return EXIT_FAILED;
	err = hf_open(vol, argv[optind + 1], HF_O_WRONLY, 0, &file);
	if (!err) {
		err = hf_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
		hf_close(&file);
	}
	return tool_unmount(&vol, err ? tool_fail(err, "%s", argv[optind + 1]) : EXIT_OK);
}
