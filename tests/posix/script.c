/* Scripts: statements separated by ';', words by blanks, what is expected behind '='.
 *
 *	words: @255 anywhere in a path   a component of 255 times 'n'
 *	       %4095:f                   "f" below as many "./" as make 4095 bytes
 *	       ""                        the empty path
 *	       $X                        a directory on another filesystem
 *	       A, B ...                  open files
 *	times: seconds, with a fraction; now, omit
 *	= 5, = EEXIST, = EEXIST|ENOTEMPTY
 */
#include "posix.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define WORDS	   20
#define MARKS	   16
#define WORD_BYTES (PX_PATH_MAX + 1024)
#define BUF_BYTES  (1u << 20)

struct run {
	const struct px_backend *b;
	const struct px_at *at; /* the first argument, as the statement's variant takes it */
	int argc;
	char *argv[WORDS];
	int64_t expect; /* without '=' */
	struct {
		uint64_t ino;
		struct px_stat st;
	} mark[MARKS];
	int marks;
};

struct command {
	const char *name;
	int args; /* at least */
	int64_t (*fn)(struct run *r);
	enum px_how how;
};

static char words[WORDS][WORD_BYTES];
static char buf[BUF_BYTES];
static char failure[1024];

int px_fail(const char *fmt, ...)
{
	va_list ap;

	if (failure[0])
		return -1;
	va_start(ap, fmt);
	vsnprintf(failure, sizeof(failure), fmt, ap);
	va_end(ap);
	return -1;
}

const char *px_failure(void)
{
	return failure;
}

void px_failure_clear(void)
{
	failure[0] = '\0';
}

/* ---- numbers and names */

static const struct {
	const char *name;
	int value;
} errnos[] = {
    {"EACCES", EACCES},	  {"EAGAIN", EAGAIN},	{"EBADF", EBADF},     {"EBUSY", EBUSY},
    {"EEXIST", EEXIST},	  {"EFBIG", EFBIG},	{"EINVAL", EINVAL},   {"EISDIR", EISDIR},
    {"ELOOP", ELOOP},	  {"EMLINK", EMLINK},	{"ENODATA", ENODATA}, {"ENODEV", ENODEV},
    {"ENOENT", ENOENT},	  {"ENOSPC", ENOSPC},	{"ENOTDIR", ENOTDIR}, {"ENOTEMPTY", ENOTEMPTY},
    {"ENXIO", ENXIO},	  {"EPERM", EPERM},	{"ERANGE", ERANGE},   {"EROFS", EROFS},
    {"ESPIPE", ESPIPE},	  {"ESTALE", ESTALE},	{"ETXTBSY", ETXTBSY}, {"EXDEV", EXDEV},
    {"E2BIG", E2BIG},	  {"EDEADLK", EDEADLK}, {"EFAULT", EFAULT},   {"ENAMETOOLONG", ENAMETOOLONG},
    {"EOPNOTSUPP", EOPNOTSUPP}, {"EOVERFLOW", EOVERFLOW},
};
#define ERRNOS (sizeof(errnos) / sizeof(errnos[0]))

static const char *result_text(int64_t v)
{
	static char number[32];

	for (size_t i = 0; i < ERRNOS; i++)
		if (v == -errnos[i].value)
			return errnos[i].name;
	snprintf(number, sizeof(number), "%lld", (long long)v);
	return number;
}

static bool result_is(int64_t v, const char *want, size_t len)
{
	char one[64];

	snprintf(one, sizeof(one), "%.*s", (int)len, want);
	if (one[0] == 'E')
		return v < 0 && strcmp(result_text(v), one) == 0;
	return v == strtoll(one, NULL, 0);
}

/* One of the alternatives. */
static bool result_matches(int64_t v, const char *want)
{
	while (*want) {
		size_t len = strcspn(want, "|");

		if (result_is(v, want, len))
			return true;
		want += len + (want[len] == '|');
	}
	return false;
}

static int64_t time_of(const char *s)
{
	int64_t ns = 0, scale = 100000000;
	bool minus = *s == '-';
	char *end;
	int64_t sec;

	if (strcmp(s, "now") == 0)
		return PX_NOW;
	if (strcmp(s, "omit") == 0)
		return PX_OMIT;
	sec = strtoll(s + minus, &end, 10);
	if (*end == '.')
		for (end++; isdigit((unsigned char)*end); end++, scale /= 10)
			ns += (*end - '0') * scale;
	ns += sec * 1000000000;
	return minus ? -ns : ns;
}

static uint64_t number(const char *s)
{
	if (strcmp(s, "max") == 0)
		return INT64_MAX;
	if (*s == '-')
		return (uint64_t)strtoll(s, NULL, 0);
	return strtoull(s, NULL, 0);
}

static uint32_t octal(const char *s)
{
	return (uint32_t)strtoul(s, NULL, 8);
}

static int slot_of(const char *s)
{
	return *s - 'A';
}

static bool flag_in(const char *list, const char *flag)
{
	size_t n = strlen(flag);

	for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
		if (strncmp(p, flag, n) == 0 && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

/* ---- words */

/* "@12" and "$X" inside a word. */
static void word_expand(const char *s, size_t len, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < size;) {
		char *end;

		if (s[i] == '@' && isdigit((unsigned char)s[i + 1])) {
			size_t times = strtoul(s + i + 1, &end, 10);

			for (size_t k = 0; k < times && n + 1 < size; k++)
				out[n++] = 'n';
			i = (size_t)(end - s);
		} else if (s[i] == '$' && s[i + 1] == 'X') {
			n += (size_t)snprintf(out + n, size - n, "%s", px_system_other());
			i += 2;
		} else {
			out[n++] = s[i++];
		}
	}
	out[n] = '\0';
}

static void word_pad(const char *s, size_t len, char *out)
{
	char *end;
	size_t total = strtoul(s + 1, &end, 10), tail, n = 0;

	end++; /* ':' */
	tail = len - (size_t)(end - s);
	while (n + 2 <= total - tail) {
		out[n++] = '.';
		out[n++] = '/';
	}
	if (n < total - tail)
		out[n++] = '/';
	memcpy(out + n, end, tail);
	out[n + tail] = '\0';
}

static void word_take(const char *s, size_t len, char *out)
{
	if (len == 2 && s[0] == '"' && s[1] == '"')
		out[0] = '\0';
	else if (s[0] == '%' && isdigit((unsigned char)s[1]))
		word_pad(s, len, out);
	else
		word_expand(s, len, out, WORD_BYTES);
}

/* Takes a statement apart; *want is what comes behind '=', or "". */
static int words_of(struct run *r, const char *s, size_t len, char *want)
{
	bool after = false;

	r->argc = 0;
	want[0] = '\0';
	for (size_t i = 0; i < len;) {
		size_t n;

		if (isspace((unsigned char)s[i])) {
			i++;
			continue;
		}
		for (n = 0; i + n < len && !isspace((unsigned char)s[i + n]); n++)
			;
		if (after) {
			snprintf(want, 64, "%.*s", (int)n, s + i);
		} else if (n == 1 && s[i] == '=') {
			after = true;
		} else if (r->argc < WORDS) {
			word_take(s + i, n, words[r->argc]);
			r->argv[r->argc] = words[r->argc];
			r->argc++;
		}
		i += n;
	}
	return r->argc;
}

static const char *arg(const struct run *r, int i, const char *otherwise)
{
	return i < r->argc ? r->argv[i] : otherwise;
}

/* ---- files */

static int open_flags(const char *s)
{
	static const struct {
		const char *name;
		int flag;
	} known[] = {
	    {"r", O_RDONLY},	       {"w", O_WRONLY},	    {"rw", O_RDWR},
	    {"creat", O_CREAT},	       {"excl", O_EXCL},    {"trunc", O_TRUNC},
	    {"append", O_APPEND},      {"dir", O_DIRECTORY}, {"nofollow", O_NOFOLLOW},
	    {"tmpfile", O_TMPFILE},    {"path", O_PATH},    {"nonblock", O_NONBLOCK},
	    {"noatime", O_NOATIME},
	};
	int flags = 0;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (flag_in(s, known[i].name))
			flags |= known[i].flag;
	return flags;
}

static int64_t do_open(struct run *r)
{
	return r->b->open(slot_of(r->argv[1]), r->argv[2], open_flags(r->argv[3]),
			  octal(arg(r, 4, "644")));
}

static int64_t do_close(struct run *r)
{
	return r->b->close(slot_of(r->argv[1]));
}

static int64_t do_create(struct run *r)
{
	int64_t err = r->b->open(PX_SLOTS - 1, r->argv[1], O_CREAT | O_EXCL | O_WRONLY,
				 octal(arg(r, 2, "644")));

	return err ? err : r->b->close(PX_SLOTS - 1);
}

static size_t fill(const char *len, const char *with)
{
	size_t n = number(len);

	memset(buf, *with == '.' ? 0 : *with, n < sizeof(buf) ? n : sizeof(buf));
	return n < sizeof(buf) ? n : sizeof(buf);
}

/* write A OFF LEN BYTE */
static int64_t do_write(struct run *r)
{
	size_t n = fill(r->argv[3], arg(r, 4, "x"));

	r->expect = (int64_t)n;
	return r->b->pwrite(slot_of(r->argv[1]), buf, n, number(r->argv[2]));
}

static int64_t do_append(struct run *r)
{
	size_t n = fill(r->argv[2], arg(r, 3, "x"));

	r->expect = (int64_t)n;
	return r->b->append(slot_of(r->argv[1]), buf, n);
}

/* read A OFF LEN BYTE: that many, each this one; '.' is zero, '-' is any */
static int64_t do_read(struct run *r)
{
	size_t n = number(r->argv[3]);
	char with = *arg(r, 4, "-");
	int64_t got;

	r->expect = (int64_t)n;
	memset(buf, '?', n);
	got = r->b->pread(slot_of(r->argv[1]), buf, n, number(r->argv[2]));
	for (int64_t i = 0; i < got && with != '-'; i++)
		if (buf[i] != (with == '.' ? 0 : with))
			return px_fail("byte %lld is %#x", (long long)i, (unsigned char)buf[i]);
	return got;
}

static int64_t do_truncate(struct run *r)
{
	return r->b->truncate(r->at, number(r->argv[2]));
}

/* fallocate A MODE OFF LEN: letters keep, punch, zero, collapse, insert; '-' none; 'u' one that nobody knows */
static int64_t do_fallocate(struct run *r)
{
	int mode = 0;

	for (const char *p = r->argv[2]; *p; p++)
		mode |= *p == 'k'   ? 1
			: *p == 'p' ? 2
			: *p == 'c' ? 8
			: *p == 'z' ? 16
			: *p == 'i' ? 32
			: *p == 'u' ? 0x4000
				    : 0;
	return r->b->fallocate(slot_of(r->argv[1]), mode, number(r->argv[3]), number(r->argv[4]));
}

static int64_t do_seek(struct run *r)
{
	return r->b->seek(slot_of(r->argv[1]), number(r->argv[3]),
			  strcmp(r->argv[2], "data") == 0 ? SEEK_DATA : SEEK_HOLE);
}

static int64_t do_fsync(struct run *r)
{
	return r->b->fsync(slot_of(r->argv[1]));
}

static int64_t do_copy(struct run *r)
{
	r->expect = (int64_t)number(r->argv[5]);
	return r->b->copy(slot_of(r->argv[1]), number(r->argv[2]), slot_of(r->argv[3]),
			  number(r->argv[4]), number(r->argv[5]));
}

/* ---- names */

static int64_t do_mkdir(struct run *r)
{
	return r->b->mkdir(r->argv[1], octal(arg(r, 2, "755")));
}
static int64_t do_rmdir(struct run *r)
{
	return r->b->rmdir(r->argv[1]);
}
static int64_t do_unlink(struct run *r)
{
	return r->b->unlink(r->argv[1]);
}
static int64_t do_symlink(struct run *r)
{
	return r->b->symlink(r->argv[1], r->argv[2]);
}
static int64_t do_link(struct run *r)
{
	return r->b->link(r->argv[1], r->argv[2]);
}
static int64_t do_flink(struct run *r)
{
	return r->b->flink(slot_of(r->argv[1]), r->argv[2]);
}

/* mknod NAME TYPE [MODE] [MAJOR MINOR] */
static int64_t do_mknod(struct run *r)
{
	static const char letters[] = "fpsbc";
	static const uint32_t types[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFBLK, S_IFCHR};
	const char *at = strchr(letters, r->argv[2][0]);
	uint64_t dev = makedev((unsigned)number(arg(r, 4, "0")), (unsigned)number(arg(r, 5, "0")));

	return r->b->mknod(r->argv[1], types[at - letters] | octal(arg(r, 3, "644")), dev);
}

static int64_t do_rename(struct run *r)
{
	const char *how = arg(r, 3, "-");
	unsigned flags = 0;

	if (strstr(how, "noreplace"))
		flags |= 1;
	if (strstr(how, "exchange"))
		flags |= 2;
	if (strstr(how, "unknown"))
		flags |= 0x100;
	return r->b->rename(r->argv[1], r->argv[2], flags);
}

static int64_t do_readlink(struct run *r)
{
	const char *want = arg(r, 2, NULL);
	int64_t n = r->b->readlink(r->argv[1], buf, sizeof(buf));

	if (n < 0 || !want)
		return n;
	if ((size_t)n != strlen(want) || memcmp(buf, want, (size_t)n) != 0)
		return px_fail("the target is '%.*s'", (int)n, buf);
	return 0;
}

static int64_t do_readlink_size(struct run *r)
{
	return r->b->readlink(r->argv[1], buf, number(r->argv[2]));
}

/* ---- attributes */

static char type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 'f';
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFIFO:
		return 'p';
	case S_IFSOCK:
		return 's';
	case S_IFBLK:
		return 'b';
	default:
		return 'c';
	}
}

static int64_t stat_value(const struct px_stat *st, const char *key)
{
	const struct {
		const char *name;
		int64_t value;
	} known[] = {
	    {"nlink", st->nlink},
	    {"size", (int64_t)st->size},
	    {"uid", st->uid},
	    {"gid", st->gid},
	    {"blocks", (int64_t)st->blocks},
	    {"major", major(st->rdev)},
	    {"minor", minor(st->rdev)},
	    {"mode", st->mode & 07777},
	    {"atime", st->atime},
	    {"mtime", st->mtime},
	    {"ctime", st->ctime},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, key) == 0)
			return known[i].value;
	px_fail("no attribute is called '%s'", key);
	return -1;
}

static int64_t stat_want(const char *key, const char *s)
{
	if (strcmp(key, "mode") == 0)
		return octal(s);
	if (strstr(key, "time"))
		return time_of(s);
	return (int64_t)number(s);
}

static void stat_compare(const struct px_stat *st, const char *key, const char *want)
{
	char order = *want == '<' || *want == '>' ? *want++ : '=';
	int64_t v, w;

	if (strcmp(key, "type") == 0) {
		if (type_of(st->mode) != *want)
			px_fail("the type is %c", type_of(st->mode));
		return;
	}
	v = stat_value(st, key);
	w = stat_want(key, want);
	if (order == '=' ? v != w : order == '<' ? v >= w : v <= w)
		px_fail(strcmp(key, "mode") ? "%s is %lld" : "%s is 0%llo", key, (long long)v);
}

/* stat NAME KEY VALUE ...: a value may have '<' or '>' before it */
static int64_t do_stat(struct run *r)
{
	struct px_stat st;
	int64_t err = r->b->stat(r->at, &st);

	for (int i = 2; !err && i + 1 < r->argc; i += 2)
		stat_compare(&st, r->argv[i], r->argv[i + 1]);
	return err;
}

static int64_t do_chmod(struct run *r)
{
	return r->b->chmod(r->at, octal(r->argv[2]));
}

static int64_t do_chown(struct run *r)
{
	return r->b->chown(r->at, (int64_t)number(r->argv[2]), (int64_t)number(r->argv[3]));
}

static int64_t do_utimens(struct run *r)
{
	const int64_t ns[2] = {time_of(r->argv[2]), time_of(r->argv[3])};

	return r->b->utimens(r->at, ns);
}

static int64_t do_same(struct run *r)
{
	const struct px_at a = {.how = PX_NOFOLLOW, .path = r->argv[1]};
	const struct px_at b = {.how = PX_NOFOLLOW, .path = r->argv[2]};
	struct px_stat st[2];
	int64_t err = r->b->stat(&a, &st[0]);

	if (!err)
		err = r->b->stat(&b, &st[1]);
	if (!err && st[0].ino != st[1].ino)
		px_fail("they are two inodes");
	return err;
}

/* ---- times */

/* Until a time stamp taken now differs from one taken before: the kernel's clock for these ticks by milliseconds. */
static void clock_pass(void)
{
	struct timespec a, b, pause = {.tv_nsec = 1000000};
	int ticks = 0;

	clock_gettime(CLOCK_REALTIME_COARSE, &a);
	while (ticks < 2) {
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_REALTIME_COARSE, &b);
		if (b.tv_nsec != a.tv_nsec) {
			ticks++;
			a = b;
		}
	}
}

static int64_t mark_one(struct run *r, const struct px_at *at)
{
	struct px_stat st;
	int64_t err = r->b->stat(at, &st);
	int i;

	for (i = 0; !err && i < r->marks && r->mark[i].ino != st.ino; i++)
		;
	if (err || i == MARKS)
		return err ? err : -ENOSPC;
	r->mark[i].ino = st.ino;
	r->mark[i].st = st;
	if (i == r->marks)
		r->marks++;
	return 0;
}

/* mark NAME ...: what 'upd' compares with, whatever the name is by then */
static int64_t do_mark(struct run *r)
{
	int64_t err = 0;

	for (int i = 1; !err && i < r->argc; i++) {
		const struct px_at at = {
		    .how = r->at->how, .path = r->argv[i], .slot = slot_of(r->argv[i])};

		err = mark_one(r, &at);
	}
	clock_pass();
	return err;
}

static void upd_one(char letter, const char *set, int64_t before, int64_t now)
{
	const char *in = strchr(set, letter);

	if (in && in[1] == '?')
		return;
	if (in && now <= before)
		px_fail("%ctime was not updated", letter);
	if (!in && now != before)
		px_fail("%ctime was updated", letter);
}

/* upd NAME SET: exactly these of a, m, c are newer than at the mark; a letter with '?' may be; '-' is none */
static int64_t do_upd(struct run *r)
{
	struct px_stat st;
	int64_t err = r->b->stat(r->at, &st);
	const char *set = r->argv[2];

	for (int i = 0; !err && i < r->marks; i++) {
		if (r->mark[i].ino != st.ino)
			continue;
		upd_one('a', set, r->mark[i].st.atime, st.atime);
		upd_one('m', set, r->mark[i].st.mtime, st.mtime);
		upd_one('c', set, r->mark[i].st.ctime, st.ctime);
		return 0;
	}
	return err ? err : px_fail("it was not marked");
}

/* ---- extended attributes */

/* *5 is five times 'v' */
static size_t value_of(const char *s, char *out)
{
	size_t n = *s == '*' ? number(s + 1) : strlen(s);

	if (*s == '*')
		memset(out, 'v', n);
	else
		memcpy(out, s, n);
	return n;
}

static int64_t do_setx(struct run *r)
{
	const char *how = arg(r, 4, "-");
	int flags = (strchr(how, 'c') ? XATTR_CREATE : 0) | (strchr(how, 'r') ? XATTR_REPLACE : 0) |
		    (strchr(how, 'u') ? 0x100 : 0);

	return r->b->setxattr(r->at, r->argv[2], buf, value_of(r->argv[3], buf), flags);
}

static int64_t do_getx(struct run *r)
{
	static char want[1u << 17];
	size_t len = value_of(arg(r, 3, ""), want);
	int64_t n = r->b->getxattr(r->at, r->argv[2], buf, sizeof(buf) / 8);

	if (n < 0)
		return n;
	if ((size_t)n != len || memcmp(buf, want, len) != 0)
		return px_fail("the value has %lld bytes: '%.*s'", (long long)n, (int)(n < 40 ? n : 40), buf);
	return 0;
}

static int64_t do_getx_size(struct run *r)
{
	return r->b->getxattr(r->at, r->argv[2], buf, number(r->argv[3]));
}

static int64_t do_listx_size(struct run *r)
{
	return r->b->listxattr(r->at, buf, number(r->argv[2]));
}

static int64_t do_rmx(struct run *r)
{
	return r->b->removexattr(r->at, r->argv[2]);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int64_t names_compare(char **names, size_t n, const char *want)
{
	static char all[8192];
	size_t len = 0;

	all[0] = '\0';
	qsort(names, n, sizeof(names[0]), by_name);
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i ? "," : "", names[i]);
	if (strcmp(all, want) != 0)
		return px_fail("it has '%.200s'", all);
	return 0;
}

/* listx NAME user.a,user.b: these, and others only of the namespaces that the system keeps for itself */
static int64_t do_listx(struct run *r)
{
	char *names[64];
	size_t count = 0;
	int64_t n = r->b->listxattr(r->at, buf, sizeof(buf) / 16);

	if (n < 0)
		return n;
	for (int64_t i = 0; i < n && count < 64; i += (int64_t)strlen(buf + i) + 1)
		if (strncmp(buf + i, "security.", 9) != 0 && strncmp(buf + i, "system.", 7) != 0)
			names[count++] = buf + i;
	return names_compare(names, count, arg(r, 2, ""));
}

/* ---- directories */

/* ls DIR a,b,c: all but '.' and '..', sorted */
static int64_t do_ls(struct run *r)
{
	static char text[100][256];
	char *names[100];
	struct px_dirent d;
	size_t n = 0;
	int64_t err = r->b->opendir(PX_SLOTS - 1, r->argv[1]);

	while (!err && r->b->readdir(PX_SLOTS - 1, &d) == 1) {
		if (strcmp(d.name, ".") == 0 || strcmp(d.name, "..") == 0 || n == 100)
			continue;
		snprintf(text[n], sizeof(text[n]), "%s", d.name);
		names[n] = text[n];
		n++;
	}
	if (err)
		return err;
	err = r->b->close(PX_SLOTS - 1);
	return err ? err : names_compare(names, n, arg(r, 2, ""));
}

static int64_t do_opendir(struct run *r)
{
	return r->b->opendir(slot_of(r->argv[1]), r->argv[2]);
}

/* ---- the kernel's */

static int64_t do_as(struct run *r)
{
	return r->b->become((int64_t)number(r->argv[1]), (int64_t)number(arg(r, 2, r->argv[1])));
}

static int64_t do_root(struct run *r)
{
	return r->b->become(-1, -1);
}

static int64_t do_umask(struct run *r)
{
	(void)umask(octal(r->argv[1]));
	return 0;
}

static int64_t do_access(struct run *r)
{
	int mode = 0;

	for (const char *p = r->argv[2]; *p; p++)
		mode |= *p == 'r' ? R_OK : *p == 'w' ? W_OK : *p == 'x' ? X_OK : F_OK;
	return faccessat(AT_FDCWD, r->argv[1], mode, AT_EACCESS) ? -errno : 0;
}

static int64_t do_fn(struct run *r)
{
	px_fn *fn = px_function(r->argv[1]);

	return fn ? fn(r->b) : px_fail("no function is called '%s'", r->argv[1]);
}

static const struct command commands[] = {
    {"open", 3, do_open, 0},
    {"close", 1, do_close, 0},
    {"create", 1, do_create, 0},
    {"write", 3, do_write, 0},
    {"append", 2, do_append, 0},
    {"read", 3, do_read, 0},
    {"truncate", 2, do_truncate, PX_FOLLOW},
    {"ftruncate", 2, do_truncate, PX_SLOT},
    {"fallocate", 4, do_fallocate, 0},
    {"seek", 3, do_seek, 0},
    {"fsync", 1, do_fsync, 0},
    {"copy", 5, do_copy, 0},
    {"mkdir", 1, do_mkdir, 0},
    {"rmdir", 1, do_rmdir, 0},
    {"unlink", 1, do_unlink, 0},
    {"mknod", 2, do_mknod, 0},
    {"symlink", 2, do_symlink, 0},
    {"readlink", 1, do_readlink, 0},
    {"readlink_size", 2, do_readlink_size, 0},
    {"link", 2, do_link, 0},
    {"flink", 2, do_flink, 0},
    {"rename", 2, do_rename, 0},
    {"stat", 1, do_stat, PX_FOLLOW},
    {"lstat", 1, do_stat, PX_NOFOLLOW},
    {"fstat", 1, do_stat, PX_SLOT},
    {"chmod", 2, do_chmod, PX_FOLLOW},
    {"fchmod", 2, do_chmod, PX_SLOT},
    {"chown", 3, do_chown, PX_FOLLOW},
    {"lchown", 3, do_chown, PX_NOFOLLOW},
    {"fchown", 3, do_chown, PX_SLOT},
    {"utimens", 3, do_utimens, PX_FOLLOW},
    {"lutimens", 3, do_utimens, PX_NOFOLLOW},
    {"futimens", 3, do_utimens, PX_SLOT},
    {"same", 2, do_same, 0},
    {"mark", 1, do_mark, PX_NOFOLLOW},
    {"fmark", 1, do_mark, PX_SLOT},
    {"upd", 2, do_upd, PX_NOFOLLOW},
    {"fupd", 2, do_upd, PX_SLOT},
    {"setx", 3, do_setx, PX_FOLLOW},
    {"lsetx", 3, do_setx, PX_NOFOLLOW},
    {"fsetx", 3, do_setx, PX_SLOT},
    {"getx", 2, do_getx, PX_FOLLOW},
    {"lgetx", 2, do_getx, PX_NOFOLLOW},
    {"fgetx", 2, do_getx, PX_SLOT},
    {"getx_size", 3, do_getx_size, PX_FOLLOW},
    {"listx", 1, do_listx, PX_FOLLOW},
    {"llistx", 1, do_listx, PX_NOFOLLOW},
    {"flistx", 1, do_listx, PX_SLOT},
    {"listx_size", 2, do_listx_size, PX_FOLLOW},
    {"rmx", 2, do_rmx, PX_FOLLOW},
    {"lrmx", 2, do_rmx, PX_NOFOLLOW},
    {"frmx", 2, do_rmx, PX_SLOT},
    {"ls", 1, do_ls, 0},
    {"opendir", 2, do_opendir, 0},
    {"as", 1, do_as, 0},
    {"root", 0, do_root, 0},
    {"umask", 1, do_umask, 0},
    {"access", 2, do_access, 0},
    {"fn", 1, do_fn, 0},
};

static int statement(struct run *r, const char *s, size_t len)
{
	const struct command *c = NULL;
	struct px_at at;
	char want[64];
	int64_t v;

	if (words_of(r, s, len, want) == 0)
		return 0;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, r->argv[0]) == 0)
			c = &commands[i];
	if (!c || r->argc - 1 < c->args)
		return px_fail("'%.*s': no such statement", (int)len, s);
	at = (struct px_at){.how = c->how, .path = arg(r, 1, ""), .slot = slot_of(arg(r, 1, "A"))};
	r->at = &at;
	r->expect = 0;
	v = c->fn(r);
	if (failure[0] == '\0' && (want[0] ? !result_matches(v, want) : v != r->expect))
		px_fail("it gives %s", result_text(v));
	return failure[0] ? -1 : 0;
}

int px_script(const struct px_backend *b, const char *script)
{
	static struct run r;
	char reason[sizeof(failure)];

	r = (struct run){.b = b};
	while (*script) {
		size_t len = strcspn(script, ";");

		if (statement(&r, script, len)) {
			while (isspace((unsigned char)*script)) {
				script++;
				len--;
			}
			snprintf(reason, sizeof(reason), "%s", failure);
			px_failure_clear();
			return px_fail("'%.*s': %s", (int)len, script, reason);
		}
		script += len + (script[len] == ';');
	}
	return 0;
}
