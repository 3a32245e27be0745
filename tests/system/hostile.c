/* hostile FILE: a volume whose directories say what no program could have made them say: names with '..', '/' and control bytes, a
 * name twice, a directory within itself. The entries are sealed, so that only a look at what they say tells. */
#include "dir/bucket.h"
#include "holdfast.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES (16ull << 20)

/* What an entry is called at first, what it is called then (of the same length), and, if not NULL, whose inode it names then. */
static const struct forgery {
	const char *from, *to, *target;
} forgeries[] = {
	{"D1", "..", NULL},
	{"F", ".", NULL},
	{"F23456789", "../escape", NULL},
	{"F234567890", "/tmp/hf-ab", NULL},
	{"F23", "x\0y", NULL},
	{"F234", "a\n\033b", NULL},
	{"twin1", "twins", NULL},
	{"twin2", "twins", NULL},
	{"loop", "loop", "cycle"},
	{"again2", "again2", "again1"},
};

#define OK(call) ok((call), #call)
static void ok(int64_t ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "hostile: %s: %s\n", what, hf_errormsg());
	exit(1);
}

static void file(hf_volume *v, const char *path)
{
	hf_file *f = NULL;

	OK(hf_open(v, path, HF_O_WRONLY | HF_O_CREAT, 0644, &f));
	OK(hf_append(f, "from the volume\n", 16, NULL));
	OK(hf_close(&f));
}

static void fill(const char *path)
{
	struct hf_format_options fo = {.struct_size = sizeof(fo), .bytes = BYTES, .force = true, .label = "bad\033[31mlabel"};
	hf_volume *v = NULL;

	OK(hf_format(path, &fo));
	OK(hf_mount(&v, path, NULL));
	OK(hf_mkdir(v, "/names", 0755));
	OK(hf_mkdir(v, "/names/D1", 0755));
	file(v, "/names/D1/evil");
	file(v, "/names/F");
	file(v, "/names/F23456789");
	file(v, "/names/F234567890");
	file(v, "/names/F23");
	file(v, "/names/F234");
	OK(hf_mkdir(v, "/twin", 0755));
	OK(hf_symlink(v, "../../outside", "/twin/twin1"));
	OK(hf_mkdir(v, "/twin/twin2", 0755));
	file(v, "/twin/twin2/evil");
	OK(hf_mkdir(v, "/cycle", 0755));
	OK(hf_mkdir(v, "/cycle/loop", 0755));
	file(v, "/cycle/file");
	OK(hf_mkdir(v, "/many", 0755));
	OK(hf_mkdir(v, "/many/again1", 0755));
	OK(hf_mkdir(v, "/many/again2", 0755));
	OK(hf_mkdir(v, "/way", 0755));
	file(v, "/way/file");
	OK(hf_mkdir(v, "/way/dir", 0755));
	file(v, "/way/dir/evil");
	OK(hf_symlink(v, "/etc/passwd", "/way/absolute"));
	file(v, "/way/setuid");
	OK(hf_chmod(v, "/way/setuid", 06755));
	OK(hf_unmount(&v));
}

static uint64_t seed_geo(uint8_t *bytes, struct geo *g)
{
	const struct fmt_super *s = (const struct fmt_super *)(const void *)bytes;

	memset(g, 0, sizeof(*g));
	g->seed = le64_get(s->seed);
	return g->seed;
}

/* The entry 'name' in any directory; NULL: there is none. */
static struct fmt_dirent *find(uint8_t *bytes, const char *name, struct fmt_bucket **in)
{
	for (uint64_t b = 0; b < BYTES / HF_BLOCK_SIZE; b++) {
		struct fmt_bucket *bucket = (struct fmt_bucket *)(void *)(bytes + b * HF_BLOCK_SIZE);

		if (le32_get(bucket->head.magic) != FMT_BUCKET_MAGIC)
			continue;
		*in = bucket;
		for (unsigned i = 0; i < FMT_DIR_SLOTS; i++) {
			struct fmt_dirent *d = &bucket->slot[i];

			if (bucket->head.tag[i] > FMT_TAG_MORE && FMT_DIRENT_LEN(le64_get(d->target)) == strlen(name) &&
			    !memcmp(d->name, name, strlen(name)))
				return d;
		}
	}
	return NULL;
}

static void seal(const struct geo *g, struct fmt_bucket *b, struct fmt_dirent *d)
{
	uint64_t target = le64_get(d->target), key = bucket_hash(g, d->name, FMT_DIRENT_LEN(target));
	struct bucket_tags t;

	d->key = le64_of(key);
	d->check = le32_of(fmt_dirent_check(g, INUM(le64_get(b->head.owner)), key, target, d->name, FMT_DIRENT_LEN(target)));
	b->head.tag[d - b->slot] = bucket_tag_of(key);
	bucket_tags_load(&b->head, &t);
	bucket_tags_seal(&t);
	for (unsigned i = 0; i < 8; i++)
		b->head.tag[56 + i] = (uint8_t)(t.w[7] >> 8 * i);
}

static void forge(uint8_t *bytes)
{
	struct fmt_bucket *in, *unused;
	struct geo g;

	seed_geo(bytes, &g);
	for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
		const struct forgery *f = &forgeries[i];
		struct fmt_dirent *d = find(bytes, f->from, &in);
		const struct fmt_dirent *whose = f->target ? find(bytes, f->target, &unused) : d;

		if (!d || !whose) {
			fprintf(stderr, "hostile: no entry %s\n", f->from);
			exit(1);
		}
		memcpy(d->name, f->to, strlen(f->from));
		if (f->target)
			d->target = le64_of(bucket_target(INUM(FMT_DIRENT_INO(le64_get(whose->target))), (unsigned)strlen(f->from), DT_DIR));
		seal(&g, in, d);
	}
}

int main(int argc, char **argv)
{
	uint8_t *bytes = malloc(BYTES);
	int fd;

	if (argc != 2 || !bytes)
		return 2;
	fill(argv[1]);
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, bytes, BYTES, 0) != (ssize_t)BYTES)
		return 1;
	forge(bytes);
	if (pwrite(fd, bytes, BYTES, 0) != (ssize_t)BYTES || close(fd) != 0)
		return 1;
	free(bytes);
	return 0;
}
