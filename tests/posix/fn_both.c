/* Functions of the table that need loops or threads, and no kernel. */
#include "functions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define A 0
#define B 1
#define C 2
#define LINKS_MAX 40

static struct px_at nofollow(const char *path)
{
	return (struct px_at){.how = PX_NOFOLLOW, .path = path};
}
static struct px_at follow(const char *path)
{
	return (struct px_at){.how = PX_FOLLOW, .path = path};
}

static int64_t stat_of(const struct px_backend *b, const char *path, struct px_stat *st)
{
	const struct px_at at = nofollow(path);

	return b->stat(&at, st);
}

/* ---- paths */

/* l1 -> f, l2 -> l1 ... */
static int chain(const struct px_backend *b, int n, const char *end)
{
	char name[32], target[32];

	snprintf(target, sizeof(target), "%s", end);
	for (int i = 1; i <= n; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		TRY(b->symlink(target, name));
		snprintf(target, sizeof(target), "%s", name);
	}
	return 0;
}

static int links_40(const struct px_backend *b)
{
	const struct px_at at = follow("l40");
	struct px_stat st;

	if (px_make(b, "f") || chain(b, LINKS_MAX, "f"))
		return -1;
	TRY(b->stat(&at, &st));
	CHECK(S_ISREG(st.mode));
	return 0;
}

static int links_41(const struct px_backend *b)
{
	const struct px_at at = follow("l41");
	struct px_stat st;

	if (px_make(b, "f") || chain(b, LINKS_MAX + 1, "f"))
		return -1;
	WANT(b->stat(&at, &st), -ELOOP);
	WANT(b->open(A, "l41", O_RDONLY, 0), -ELOOP);
	WANT(b->open(A, "l41", O_RDWR | O_CREAT, 0644), -ELOOP);
	return 0;
}

static int links_in_the_middle(const struct px_backend *b)
{
	struct px_stat st;
	char path[1024] = "";

	TRY(b->mkdir("d", 0755));
	TRY(b->symlink(".", "d/l"));
	strcpy(path, "d");
	for (int i = 0; i < LINKS_MAX; i++)
		strcat(path, "/l");
	TRY(stat_of(b, strcat(path, "/."), &st));
	strcat(path, "/l/.");
	WANT(stat_of(b, path, &st), -ELOOP);
	return 0;
}

/* ---- names */

static int names_of_all_bytes(const struct px_backend *b)
{
	struct px_stat st;
	struct px_dirent d;
	int seen = 0;

	for (int c = 1; c < 256; c++) {
		const char name[] = {'x', (char)c, '\0'};

		if (c != '/' && px_make(b, name))
			return -1;
	}
	TRY(b->opendir(A, "."));
	while (b->readdir(A, &d) == 1)
		seen += d.name[0] == 'x' && strlen(d.name) == 2;
	CHECK(seen == 254);
	for (int c = 1; c < 256; c++) {
		const char name[] = {'x', (char)c, '\0'};

		if (c == '/')
			continue;
		TRY(stat_of(b, name, &st));
		TRY(b->unlink(name));
	}
	return 0;
}

static int names_not_utf8(const struct px_backend *b)
{
	static const char *const odd[] = {"\xff\xfe", "\xc3", "\xed\xa0\x80", "a\xcc\x81", "\xc3\xa1", "\n\t\\", "*?[]", "-rf"};
	struct px_stat st;

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		if (px_make(b, odd[i]))
			return -1;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		TRY(stat_of(b, odd[i], &st));
	return 0;
}

static int many_dirs(const struct px_backend *b)
{
	struct px_stat st;
	char name[32];

	TRY(b->mkdir("d", 0755));
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d/%d", i);
		TRY(b->mkdir(name, 0755));
	}
	TRY(stat_of(b, "d", &st));
	CHECK(st.nlink == 302);
	return 0;
}

static int many_links(const struct px_backend *b)
{
	struct px_stat st;
	char name[32];

	if (px_make(b, "f"))
		return -1;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		TRY(b->link("f", name));
	}
	TRY(stat_of(b, "f", &st));
	CHECK(st.nlink == 1001);
	for (int i = 0; i < 1000; i += 2) {
		snprintf(name, sizeof(name), "l%d", i);
		TRY(b->unlink(name));
	}
	TRY(stat_of(b, "l1", &st));
	CHECK(st.nlink == 501);
	return 0;
}

static int rename_back_and_forth(const struct px_backend *b)
{
	struct px_stat st, before;

	TRY(b->mkdir("a", 0755));
	TRY(b->mkdir("b", 0755));
	TRY(b->mkdir("a/d", 0755));
	TRY(stat_of(b, "a/d", &before));
	for (int i = 0; i < 100; i++) {
		TRY(b->rename("a/d", "b/e", 0));
		TRY(b->rename("b/e", "a/d", 0));
	}
	TRY(stat_of(b, "a/d", &st));
	CHECK(st.ino == before.ino && st.nlink == 2);
	TRY(stat_of(b, "a", &st));
	CHECK(st.nlink == 3);
	TRY(stat_of(b, "b", &st));
	CHECK(st.nlink == 2);
	return 0;
}

/* ---- attributes */

static int new_files_have_one_time(const struct px_backend *b)
{
	static const char *const names[] = {"f", "d", "l", "p"};
	struct timespec now;
	struct px_stat st;
	int64_t now_s;

	clock_gettime(CLOCK_REALTIME, &now);
	now_s = now.tv_sec;
	for (size_t i = 0; i < 4; i++) {
		TRY(stat_of(b, names[i], &st));
		CHECK(st.atime == st.mtime && st.mtime == st.ctime);
		CHECK(st.mtime / 1000000000 <= now_s && st.mtime / 1000000000 > now_s - 60);
	}
	return 0;
}

static int statfs_sane(const struct px_backend *b)
{
	struct px_statfs st;

	TRY(b->statfs(&st));
	CHECK(st.bsize >= 512 && st.blocks > 0 && st.bfree <= st.blocks && st.ffree <= st.files);
	CHECK(st.namemax == PX_NAME_MAX);
	return 0;
}

static int statfs_counts(const struct px_backend *b)
{
	static char buf[1 << 20];
	struct px_statfs before, after;

	TRY(b->statfs(&before));
	TRY(b->open(A, "f", O_RDWR | O_CREAT, 0644));
	for (uint64_t i = 0; i < 8; i++)
		WANT(b->pwrite(A, buf, sizeof(buf), i * sizeof(buf)), sizeof(buf));
	TRY(b->fsync(A));
	TRY(b->statfs(&after));
	CHECK(before.bfree > after.bfree);
	CHECK((before.bfree - after.bfree) * before.bsize >= 7u << 20);
	return 0;
}

/* ---- threads */

#define THREADS 4
#define RECORDS 200
#define RECORD	37

struct appender {
	const struct px_backend *b;
	int slot;
	char with;
	int64_t wrong;
};

static void *append_loop(void *arg)
{
	struct appender *a = arg;
	char record[RECORD];

	memset(record, a->with, sizeof(record));
	for (int i = 0; i < RECORDS; i++)
		if (a->b->append(a->slot, record, sizeof(record)) != RECORD)
			a->wrong++;
	return NULL;
}

/* Handles of their own, each for appending: no record is lost, none is torn. */
static int append_threads(const struct px_backend *b)
{
	struct appender a[THREADS];
	pthread_t thread[THREADS];
	char record[RECORD];
	int count[THREADS] = {0};

	for (int i = 0; i < THREADS; i++) {
		a[i] = (struct appender){.b = b, .slot = i, .with = (char)('a' + i)};
		TRY(b->open(i, "f", O_RDWR | O_CREAT | O_APPEND, 0644));
	}
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, append_loop, &a[i]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (uint64_t i = 0; i < THREADS * RECORDS; i++) {
		WANT(b->pread(A, record, RECORD, i * RECORD), RECORD);
		CHECK(record[0] >= 'a' && record[0] < 'a' + THREADS);
		for (int k = 1; k < RECORD; k++)
			CHECK(record[k] == record[0]);
		count[record[0] - 'a']++;
	}
	WANT(b->pread(A, record, RECORD, THREADS * RECORDS * RECORD), 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(count[i] == RECORDS && a[i].wrong == 0);
	return 0;
}

#define WHOLE 3000
static void *overwrite_loop(void *arg)
{
	struct appender *a = arg;
	char buf[WHOLE];

	memset(buf, a->with, sizeof(buf));
	for (int i = 0; i < RECORDS; i++)
		if (a->b->pwrite(a->slot, buf, sizeof(buf), 100) != WHOLE)
			a->wrong++;
	return NULL;
}

/* Two threads overwrite the same bytes: afterwards, and in between, they are those of one of them. (POSIX asks it of reads too;
 * Linux's own filesystems do not keep that for buffered reads, so only writes are looked at.) */
static int writes_are_whole(const struct px_backend *b)
{
	struct appender a[2];
	pthread_t thread[2];
	char buf[WHOLE];

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 2; i++) {
			a[i] = (struct appender){.b = b, .slot = i, .with = (char)('a' + i)};
			TRY(b->open(i, "f", O_RDWR | O_CREAT, 0644));
		}
		for (int i = 0; i < 2; i++)
			pthread_create(&thread[i], NULL, overwrite_loop, &a[i]);
		for (int i = 0; i < 2; i++)
			pthread_join(thread[i], NULL);
		WANT(b->pread(A, buf, WHOLE, 100), WHOLE);
		for (int k = 1; k < WHOLE; k++)
			CHECK(buf[k] == buf[0]);
		CHECK(a[0].wrong == 0 && a[1].wrong == 0);
	}
	return 0;
}

static int every_other_block(const struct px_backend *b)
{
	char buf[4096];
	const struct px_at at = {.how = PX_SLOT, .slot = A};
	struct px_stat st;

	memset(buf, 'x', sizeof(buf));
	TRY(b->open(A, "f", O_RDWR | O_CREAT, 0644));
	for (uint64_t i = 1; i < 400; i += 2)
		WANT(b->pwrite(A, buf, sizeof(buf), i * 4096), 4096);
	for (uint64_t i = 1; i < 400; i += 2) {
		WANT(b->seek(A, (i - 1) * 4096, SEEK_DATA), i * 4096);
		WANT(b->seek(A, i * 4096, SEEK_HOLE), (i + 1) * 4096);
	}
	TRY(b->stat(&at, &st));
	CHECK(st.size == 400 * 4096 && st.blocks >= 200 * 8);
	return 0;
}

/* ---- directories */

static int make_many(const struct px_backend *b, const char *dir, int n)
{
	char name[300];

	if (b->mkdir(dir, 0755))
		return px_fail("'%s' cannot be made", dir);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/name%05d", dir, i);
		if (px_make(b, name))
			return -1;
	}
	return 0;
}

/* "name00017" is 17, anything else -1. */
static int number_of(const char *name)
{
	return strncmp(name, "name", 4) == 0 && strlen(name) == 9 ? atoi(name + 4) : -1;
}

/* Reads on, counting what is called nameNNNNN; up to 'max' entries. */
static int64_t read_some(const struct px_backend *b, int slot, uint8_t *seen, int n, int max)
{
	struct px_dirent d;
	int64_t got = 1;

	for (int i = 0; i < max; i++) {
		int k;

		got = b->readdir(slot, &d);
		if (got != 1)
			break;
		k = number_of(d.name);
		if (k >= 0 && k < n)
			seen[k]++;
	}
	return got;
}

static int all_once(const uint8_t *seen, int from, int n)
{
	for (int i = from; i < n; i++)
		if (seen[i] != 1)
			return px_fail("name%05d was seen %d times", i, seen[i]);
	return 0;
}

#define MANY 1500
static uint8_t seen[MANY];

static int dots(const struct px_backend *b)
{
	struct px_dirent d;
	int one = 0, two = 0, other = 0;

	TRY(b->mkdir("d", 0755));
	TRY(b->mkdir("d/e", 0755));
	TRY(b->opendir(A, "d"));
	while (b->readdir(A, &d) == 1) {
		if (strcmp(d.name, ".") == 0)
			one++;
		else if (strcmp(d.name, "..") == 0)
			two++;
		else
			other++;
	}
	CHECK(one == 1 && two == 1 && other == 1);
	return 0;
}

static int dir_types(const struct px_backend *b)
{
	static const uint8_t types[] = {DT_REG, DT_DIR, DT_LNK, DT_FIFO, DT_SOCK};
	struct px_dirent d;
	int found = 0;

	TRY(b->mkdir("d", 0755));
	if (px_make(b, "d/0"))
		return -1;
	TRY(b->mkdir("d/1", 0755));
	TRY(b->symlink("x", "d/2"));
	TRY(b->mknod("d/3", S_IFIFO | 0600, 0));
	TRY(b->mknod("d/4", S_IFSOCK | 0600, 0));
	TRY(b->opendir(A, "d"));
	while (b->readdir(A, &d) == 1) {
		if (d.name[0] == '.')
			continue;
		CHECK(d.type == types[d.name[0] - '0']);
		found++;
	}
	CHECK(found == 5);
	return 0;
}

static int thousands_of_names(const struct px_backend *b)
{
	memset(seen, 0, sizeof(seen));
	if (make_many(b, "d", MANY))
		return -1;
	TRY(b->opendir(A, "d"));
	WANT(read_some(b, A, seen, MANY, MANY * 2), 0);
	return all_once(seen, 0, MANY);
}

static int many_long_names(const struct px_backend *b)
{
	char name[300];
	struct px_dirent d;
	int n = 0;

	TRY(b->mkdir("d", 0755));
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "d/%03d", i);
		memset(name + 5, 'n', 252);
		name[257] = '\0';
		if (px_make(b, name))
			return -1;
	}
	TRY(b->opendir(A, "d"));
	while (b->readdir(A, &d) == 1)
		n += strlen(d.name) == 255;
	CHECK(n == 200);
	return 0;
}

static int created_meanwhile(const struct px_backend *b)
{
	char name[64];

	memset(seen, 0, sizeof(seen));
	if (make_many(b, "d", 1000))
		return -1;
	TRY(b->opendir(A, "d"));
	for (int i = 0; i < 20; i++) {
		read_some(b, A, seen, MANY, 40);
		for (int k = 0; k < 50; k++) {
			snprintf(name, sizeof(name), "d/other%d.%d", i, k);
			if (px_make(b, name))
				return -1;
		}
	}
	WANT(read_some(b, A, seen, MANY, 10000), 0);
	return all_once(seen, 0, 1000);
}

static int removed_meanwhile(const struct px_backend *b)
{
	char name[64];

	memset(seen, 0, sizeof(seen));
	if (make_many(b, "d", 1000))
		return -1;
	TRY(b->opendir(A, "d"));
	for (int i = 0; i < 500; i += 10) {
		read_some(b, A, seen, MANY, 10);
		for (int k = i; k < i + 10; k++) {
			snprintf(name, sizeof(name), "d/name%05d", k);
			TRY(b->unlink(name));
		}
	}
	WANT(read_some(b, A, seen, MANY, 10000), 0);
	for (int i = 0; i < 500; i++)
		CHECK(seen[i] <= 1);
	return all_once(seen, 500, 1000);
}

static int renamed_meanwhile(const struct px_backend *b)
{
	char old[64], new[64];

	memset(seen, 0, sizeof(seen));
	if (make_many(b, "d", 1000))
		return -1;
	TRY(b->opendir(A, "d"));
	for (int i = 0; i < 500; i += 10) {
		read_some(b, A, seen, MANY, 10);
		for (int k = i; k < i + 10; k++) {
			snprintf(old, sizeof(old), "d/name%05d", k);
			snprintf(new, sizeof(new), "d/renamed%05d", k);
			TRY(b->rename(old, new, 0));
		}
	}
	WANT(read_some(b, A, seen, MANY, 10000), 0);
	return all_once(seen, 500, 1000);
}

static int churn_meanwhile(const struct px_backend *b)
{
	char name[64];
	int64_t more = 1;

	memset(seen, 0, sizeof(seen));
	if (make_many(b, "d", 800))
		return -1;
	TRY(b->opendir(A, "d"));
	for (int i = 0; i < 200 && more == 1; i++) {
		more = read_some(b, A, seen, MANY, 8);
		for (int k = 0; k < 10; k++) {
			snprintf(name, sizeof(name), "d/t%d.%d", i, k);
			if (px_make(b, name))
				return -1;
		}
		for (int k = 0; k < 10 && i % 2; k++) {
			snprintf(name, sizeof(name), "d/t%d.%d", i, k);
			TRY(b->unlink(name));
		}
	}
	WANT(read_some(b, A, seen, MANY, 10000), 0);
	return all_once(seen, 0, 800);
}

/* As 'rm -r' does it. */
static int remove_what_was_seen(const struct px_backend *b)
{
	struct px_dirent d;
	char name[300];
	int removed = 0;

	if (make_many(b, "d", 1500))
		return -1;
	TRY(b->opendir(A, "d"));
	while (b->readdir(A, &d) == 1) {
		if (d.name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "d/%s", d.name);
		TRY(b->unlink(name));
		removed++;
	}
	CHECK(removed == 1500);
	TRY(b->close(A));
	TRY(b->rmdir("d"));
	return 0;
}

static int tell_and_seek(const struct px_backend *b)
{
	static char names[500][32];
	static int64_t at[500];
	struct px_dirent d;

	if (make_many(b, "d", 498))
		return -1;
	TRY(b->opendir(A, "d"));
	for (int i = 0; i < 500; i++) {
		at[i] = b->telldir(A);
		CHECK(at[i] >= 0);
		WANT(b->readdir(A, &d), 1);
		snprintf(names[i], sizeof(names[i]), "%.31s", d.name);
	}
	WANT(b->readdir(A, &d), 0);
	for (int i = 499; i >= 0; i -= 7) {
		b->seekdir(A, (uint64_t)at[i]);
		CHECK(b->telldir(A) == at[i]);
		WANT(b->readdir(A, &d), 1);
		CHECK(strcmp(d.name, names[i]) == 0);
	}
	return 0;
}

static int seek_after_remove(const struct px_backend *b)
{
	struct px_dirent d;
	char name[300];
	int64_t at;
	int left = 0;

	memset(seen, 0, sizeof(seen));
	if (make_many(b, "d", 400))
		return -1;
	TRY(b->opendir(A, "d"));
	read_some(b, A, seen, MANY, 100);
	at = b->telldir(A);
	for (int i = 0; i < 400; i++) {
		if (!seen[i])
			continue;
		snprintf(name, sizeof(name), "d/name%05d", i);
		TRY(b->unlink(name));
		left--;
	}
	b->seekdir(A, (uint64_t)at);
	while (b->readdir(A, &d) == 1)
		left++;
	CHECK(left == 400 - 2 * 98 || left == 400 - 2 * 99 || left == 400 - 2 * 100);
	return 0;
}

static int rewind_sees_new(const struct px_backend *b)
{
	memset(seen, 0, sizeof(seen));
	if (make_many(b, "d", 5))
		return -1;
	TRY(b->opendir(A, "d"));
	WANT(read_some(b, A, seen, MANY, 100), 0);
	if (px_make(b, "d/name00005"))
		return -1;
	TRY(b->unlink("d/name00000"));
	memset(seen, 0, sizeof(seen));
	b->seekdir(A, 0);
	WANT(read_some(b, A, seen, MANY, 100), 0);
	CHECK(seen[0] == 0);
	return all_once(seen, 1, 6);
}

static int two_streams(const struct px_backend *b)
{
	static uint8_t other[MANY];

	memset(seen, 0, sizeof(seen));
	memset(other, 0, sizeof(other));
	if (make_many(b, "d", 300))
		return -1;
	TRY(b->opendir(A, "d"));
	TRY(b->opendir(B, "d"));
	for (int i = 0; i < 100; i++) {
		read_some(b, A, seen, MANY, 4);
		read_some(b, B, other, MANY, 7);
	}
	return all_once(seen, 0, 300) || all_once(other, 0, 300) ? -1 : 0;
}

/* Of a directory that was removed: nothing but perhaps the dots. */
static int read_removed(const struct px_backend *b)
{
	struct px_dirent d;

	while (b->readdir(A, &d) == 1)
		CHECK(d.name[0] == '.');
	return 0;
}

static int fill_and_empty(const struct px_backend *b)
{
	struct px_stat st;
	char name[64];

	for (int round = 0; round < 3; round++) {
		if (make_many(b, "d", 700))
			return -1;
		for (int i = 0; i < 700; i++) {
			snprintf(name, sizeof(name), "d/name%05d", (i * 37) % 700);
			TRY(b->unlink(name));
			WANT(stat_of(b, name, &st), -ENOENT);
		}
		TRY(b->rmdir("d"));
	}
	return 0;
}

/* ---- extended attributes */

static int list_sizes(const struct px_backend *b)
{
	const struct px_at at = follow("f");
	char list[256];
	int64_t n;

	if (px_make(b, "f"))
		return -1;
	n = b->listxattr(&at, list, 0);
	TRY(b->setxattr(&at, "user.abc", "1", 1, 0));
	TRY(b->setxattr(&at, "user.de", "1", 1, 0));
	WANT(b->listxattr(&at, list, 0), n + 9 + 8);
	WANT(b->listxattr(&at, list, (size_t)n + 17), n + 9 + 8);
	WANT(b->listxattr(&at, list, (size_t)n + 16), -ERANGE);
	return 0;
}

static int many_xattrs(const struct px_backend *b)
{
	const struct px_at at = follow("f");
	char name[64], value[64], got[64];

	if (px_make(b, "f"))
		return -1;
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "user.name%d", i);
		snprintf(value, sizeof(value), "value of %d", i);
		TRY(b->setxattr(&at, name, value, strlen(value), 0));
	}
	for (int i = 0; i < 60; i += 2) {
		snprintf(name, sizeof(name), "user.name%d", i);
		TRY(b->removexattr(&at, name));
	}
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "user.name%d", i);
		snprintf(value, sizeof(value), "value of %d", i);
		WANT(b->getxattr(&at, name, got, sizeof(got)), i % 2 ? (int64_t)strlen(value) : -ENODATA);
	}
	return 0;
}

/* ---- bytes at random, against a shadow; fsx.c does it for longer */

#define SHADOW 300000
static uint64_t draw(uint64_t *state, uint64_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state % below;
}

static int random_ops(const struct px_backend *b)
{
	static char shadow[SHADOW], buf[SHADOW];
	const struct px_at at = {.how = PX_SLOT, .slot = A};
	uint64_t state = 88172645463325252ull, size = 0;

	memset(shadow, 0, sizeof(shadow));
	TRY(b->open(A, "f", O_RDWR | O_CREAT, 0644));
	for (int i = 0; i < 400; i++) {
		uint64_t off = draw(&state, SHADOW), len = draw(&state, 20000) + 1;

		if (off + len > SHADOW)
			len = SHADOW - off;
		if (i % 5 == 4) {
			TRY(b->truncate(&at, off));
			memset(shadow + off, 0, SHADOW - off);
			size = off;
		} else {
			memset(shadow + off, 'a' + i % 26, len);
			WANT(b->pwrite(A, shadow + off, len, off), len);
			size = off + len > size ? off + len : size;
		}
		WANT(b->pread(A, buf, SHADOW, 0), size);
		CHECK(memcmp(buf, shadow, size) == 0);
	}
	return 0;
}

const struct px_function px_functions_both[] = {
    {"links_40", links_40},
    {"links_41", links_41},
    {"links_in_the_middle", links_in_the_middle},
    {"names_of_all_bytes", names_of_all_bytes},
    {"names_not_utf8", names_not_utf8},
    {"many_dirs", many_dirs},
    {"many_links", many_links},
    {"rename_back_and_forth", rename_back_and_forth},
    {"new_files_have_one_time", new_files_have_one_time},
    {"statfs_sane", statfs_sane},
    {"statfs_counts", statfs_counts},
    {"append_threads", append_threads},
    {"writes_are_whole", writes_are_whole},
    {"every_other_block", every_other_block},
    {"dots", dots},
    {"dir_types", dir_types},
    {"thousands_of_names", thousands_of_names},
    {"many_long_names", many_long_names},
    {"created_meanwhile", created_meanwhile},
    {"removed_meanwhile", removed_meanwhile},
    {"renamed_meanwhile", renamed_meanwhile},
    {"churn_meanwhile", churn_meanwhile},
    {"remove_what_was_seen", remove_what_was_seen},
    {"tell_and_seek", tell_and_seek},
    {"seek_after_remove", seek_after_remove},
    {"rewind_sees_new", rewind_sees_new},
    {"two_streams", two_streams},
    {"read_removed", read_removed},
    {"fill_and_empty", fill_and_empty},
    {"list_sizes", list_sizes},
    {"many_xattrs", many_xattrs},
    {"random_ops", random_ops},
    {NULL, NULL},
};

px_fn *px_function(const char *name)
{
	const struct px_function *const lists[] = {px_functions_both, px_functions_map, px_functions_lock, px_functions_io};

	for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]); k++)
		for (size_t i = 0; lists[k][i].name; i++)
			if (strcmp(lists[k][i].name, name) == 0)
				return lists[k][i].fn;
	return NULL;
}
