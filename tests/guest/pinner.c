#include "pinner.h"
#include <holdfast.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define VOLUME_BYTES (40u << 20)
#define FILE_BYTES   (6u << 20)
#define PIN_OFF	     (3u << 19)	 /* in the middle of one page of 2 MiB, to the middle of the next */
#define PIECE	     (64u << 10) /* of a scattered file */
#define FRAME	     (2u << 20)
#define MANY	     512u
#define SKIPPED	     77

struct scene {
	const struct pinner *p;
	const char *volume, *command;
	bool scattered, no_pin, remove, refused;
	hf_volume *vol;
	hf_file *held;
	struct hf_id id;
	hf_pin_id pin;
	struct pin_target target;
	struct hf_extent own[PIN_PARTS]; /* media that the pin holds: wider than the range where it
					    is of whole frames */
	size_t owns;
	struct hf_statfs before;
	char busy[160];
	int wrong;
	bool reused, harmed; /* what has to happen without the pin */
};

void pin_must(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, strerror((int)-err), hf_errormsg());
	exit(1);
}

/* All of it is told, also after the first that is not so: what goes wrong without a pin should be
 * seen. */
static bool expect(struct scene *s, bool ok, const char *what)
{
	printf("  %-74s %s\n", what, ok ? "yes" : "NO");
	fflush(stdout);
	s->wrong += !ok;
	return ok;
}

unsigned char *pin_bytes(unsigned round)
{
	static unsigned char bytes[PIN_BYTES];

	for (size_t i = 0; i < PIN_BYTES; i++)
		bytes[i] = pin_pattern(round, i);
	return bytes;
}

void pin_fill(const struct pin_target *t, unsigned round)
{
	const unsigned char *want = pin_bytes(round);

	for (size_t i = 0, off = 0; i < t->parts; off += t->iov[i++].iov_len)
		memcpy(t->iov[i].iov_base, want + off, t->iov[i].iov_len);
}

bool pin_holds(const struct pin_target *t, unsigned round)
{
	const unsigned char *want = pin_bytes(round);
	size_t off = 0;

	for (size_t i = 0; i < t->parts; off += t->iov[i++].iov_len)
		if (memcmp(t->iov[i].iov_base, want + off, t->iov[i].iov_len))
			return false;
	return off == PIN_BYTES;
}

/* ---- the file and its pin */

static void statfs_now(struct scene *s, struct hf_statfs *st)
{
	pin_must(hf_syncfs(s->vol), "hf_syncfs");
	pin_must(hf_statfs(s->vol, st), "hf_statfs");
}

/* Names and inodes that the scene will use take what they take once, before anything is counted. */
static void warm_up(struct scene *s)
{
	static const char *const names[] = {"/held", "/between", "/filler"};
	hf_file *f;

	for (size_t i = 0; i < 3; i++) {
		pin_must(hf_open(s->vol, names[i], HF_O_RDWR | HF_O_CREAT, 0600, &f), names[i]);
		pin_must(hf_fallocate(f, 0, 0, FILE_BYTES), "hf_fallocate");
		hf_close(&f);
	}
	for (size_t i = 0; i < 3; i++)
		pin_must(hf_unlink(s->vol, names[i]), "hf_unlink");
	statfs_now(s, &s->before);
}

/* Pieces of two files by turns, so that no frame is wholly of one. */
static void make_scattered(struct scene *s)
{
	static char piece[PIECE];
	hf_file *between;

	pin_must(hf_open(s->vol, "/between", HF_O_RDWR | HF_O_CREAT, 0600, &between), "/between");
	for (uint64_t off = 0; off < FILE_BYTES; off += PIECE) {
		pin_must(hf_append(s->held, piece, PIECE, NULL), "hf_append");
		pin_must(hf_append(between, piece, PIECE, NULL), "hf_append");
	}
	hf_close(&between);
	pin_must(hf_unlink(s->vol, "/between"), "hf_unlink");
}

static void make_held(struct scene *s)
{
	struct hf_stat st;

	pin_must(hf_open(s->vol, "/held", HF_O_RDWR | HF_O_CREAT, 0600, &s->held), "/held");
	if (s->scattered)
		make_scattered(s);
	else
		pin_must(hf_fallocate(s->held, 0, 0, FILE_BYTES), "hf_fallocate");
	pin_must(hf_fstat(s->held, &st), "hf_fstat");
	s->id = st.id;
}

/* From the file's extents, which of the media the pin has to hold. */
static void own_extents(struct scene *s)
{
	struct hf_extent e[PIN_PARTS];
	size_t n;

	pin_must(hf_extents(s->held, 0, e, PIN_PARTS, &n), "hf_extents");
	for (size_t i = 0; i < n; i++) {
		uint64_t unit = e[i].huge ? FRAME : 4096, from = PIN_OFF / unit * unit,
			 to = (PIN_OFF + PIN_BYTES + unit - 1) / unit * unit,
			 end = e[i].off + e[i].len;

		if (from < e[i].off)
			from = e[i].off;
		if (to > end)
			to = end;
		if (from >= to)
			continue;
		s->own[s->owns++] =
		    (struct hf_extent){.off = from,
				       .len = to - from,
				       .media_off = e[i].media_off + from - e[i].off,
				       .huge = e[i].huge};
	}
}

static uint64_t media_of(const struct scene *s, uint64_t off)
{
	for (size_t i = 0; i < s->owns; i++)
		if (off >= s->own[i].off && off - s->own[i].off < s->own[i].len)
			return s->own[i].media_off + off - s->own[i].off;
	return 0;
}

static void take_pin(struct scene *s)
{
	struct hf_pin_options how = {
	    .struct_size = sizeof(how), .flags = HF_PIN_WRITE, .tag = s->p->name};
	struct pin_target *t = &s->target;
	uint64_t off = PIN_OFF;

	t->parts = PIN_PARTS;
	t->volume = s->volume;
	pin_must(hf_pin(s->held, PIN_OFF, PIN_BYTES, &how, t->iov, &t->parts, &s->pin), "hf_pin");
	own_extents(s);
	for (size_t i = 0; i < t->parts; off += t->iov[i++].iov_len)
		t->media_off[i] = media_of(s, off);
	expect(s, s->scattered ? t->parts > 8 : t->parts <= 2 && s->own[0].huge,
	       "the file lies as it should for this run");
}

/* ---- the busy list */

static uint64_t overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	uint64_t from = a > b ? a : b, to = a + alen < b + blen ? a + alen : b + blen;

	return from < to ? to - from : 0;
}

static uint64_t own_bytes(const struct scene *s, uint64_t media, uint64_t len)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->owns; i++)
		sum += overlap(media, len, s->own[i].media_off, s->own[i].len);
	return sum;
}

static bool entry_right(const struct scene *s, const struct hf_busy *b)
{
	return b->pin == s->pin && b->id.ino == s->id.ino && b->id.gen == s->id.gen &&
	       strcmp(b->tag, s->p->name) == 0 && strcmp(b->name, "held") == 0 && b->age_ns > 0 &&
	       own_bytes(s, b->media_off, b->len) == b->len;
}

/* It says who, what and since when, of all that the pin holds, and of nothing else. */
static void look_at_busy_list(struct scene *s)
{
	static struct hf_busy list[MANY];
	uint64_t cursor = 0, sum = 0, age = 0, owned = 0;
	size_t n, count = 0, right = 0;

	while (cursor != UINT64_MAX) {
		pin_must(hf_busy_list(s->vol, &cursor, list, MANY, &n), "hf_busy_list");
		for (size_t i = 0; i < n; i++) {
			if (list[i].journal)
				continue;
			count++;
			right += entry_right(s, &list[i]);
			sum += list[i].len;
			age = list[i].age_ns > age ? list[i].age_ns : age;
		}
	}
	for (size_t i = 0; i < s->owns; i++)
		owned += s->own[i].len;
	expect(s, count && right == count,
	       "the busy list names pin, tag, file and age, and nothing else");
	expect(s, sum == owned, "it has every block that the pin holds");
	snprintf(s->busy, sizeof(s->busy),
		 "%zu extent%s, %" PRIu64 " KiB, pin '%s' of file 'held', for %.1f s", count,
		 count == 1 ? "" : "s", sum >> 10, s->p->name, (double)age / 1e9);
}

/* What somebody at a terminal sees. */
static void ask_the_tool(struct scene *s)
{
	char cmd[512], line[512], quoted[64];
	bool seen = false;
	FILE *f;

	if (!s->command)
		return;
	snprintf(cmd, sizeof(cmd), "%s busy %s", s->command, s->volume);
	snprintf(quoted, sizeof(quoted), "'%s'", s->p->name);
	f = popen(cmd, "r");
	pin_must(f ? 0 : -errno, "popen");
	while (fgets(line, sizeof(line), f)) {
		printf("    | %s", line);
		seen = seen || (strstr(line, "of held,") && strstr(line, quoted));
	}
	expect(s, pclose(f) == 0 && seen, "'holdfast busy' says so from outside");
}

/* ---- other files */

static char full_of_f[PIECE];

static bool fill_volume(struct scene *s, hf_file **filler)
{
	struct hf_statfs st;
	ssize_t n;

	memset(full_of_f, 'F', sizeof(full_of_f));
	pin_must(hf_open(s->vol, "/filler", HF_O_RDWR | HF_O_CREAT, 0600, filler), "/filler");
	do
		n = hf_append(*filler, full_of_f, sizeof(full_of_f), NULL);
	while (n > 0);
	pin_must(hf_statfs(s->vol, &st), "hf_statfs");
	printf("  the filler has %" PRIu64 " MiB, then: %s; %" PRIu64 " blocks are free\n",
	       (st.blocks_used - s->before.blocks_used) >> 8, strerror((int)-n), st.blocks_free);
	return n == -ENOSPC;
}

/* Bytes of what the pin holds (or held) that are the file's. */
static uint64_t got_of_it(struct scene *s, hf_file *file)
{
	static struct hf_extent e[MANY];
	uint64_t off = 0, sum = 0;
	size_t n;

	do {
		pin_must(hf_extents(file, off, e, MANY, &n), "hf_extents");
		for (size_t i = 0; i < n; i++) {
			sum += own_bytes(s, e[i].media_off, e[i].len);
			off = e[i].off + e[i].len;
		}
	} while (n);
	return sum;
}

static bool got_none_of_it(struct scene *s, hf_file *filler)
{
	uint64_t got = got_of_it(s, filler);

	if (got)
		printf("  %" PRIu64 " KiB of the held blocks are the filler's\n", got >> 10);
	s->reused = s->reused || got;
	return got == 0;
}

static bool untouched(hf_file *filler)
{
	static char back[PIECE];
	uint64_t off = 0, bad = 0;
	ssize_t n;

	while ((n = hf_pread(filler, back, sizeof(back), off)) > 0) {
		if (memcmp(back, full_of_f, (size_t)n))
			for (ssize_t i = 0; i < n; i++)
				bad += back[i] != 'F';
		off += (uint64_t)n;
	}
	if (n < 0 || bad)
		printf("  of the filler, %" PRIu64 " bytes are not its own (%s)\n", bad,
		       n < 0 ? hf_errormsg() : "no error");
	return n == 0 && !bad;
}

/* ---- the scene */

static void file_goes(struct scene *s)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	pin_must(hf_ftruncate(s->held, 0), "hf_ftruncate");
	pin_must(hf_unlink(s->vol, "/held"), "hf_unlink");
	pin_must(hf_close(&s->held), "hf_close");
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("  truncate, unlink and close took %.1f ms\n",
	       (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
}

static void first_round(struct scene *s)
{
	unsigned char *back = malloc(PIN_BYTES);

	s->p->start(1);
	expect(s, s->p->finish(1), "what went through it is right");
	pin_must(back ? 0 : -ENOMEM, "malloc");
	expect(s,
	       hf_pread(s->held, back, PIN_BYTES, PIN_OFF) == PIN_BYTES &&
		   !memcmp(back, pin_bytes(1), PIN_BYTES),
	       "the file's content is what it stored");
	free(back);
}

static void second_round(struct scene *s)
{
	hf_file *filler;

	puts(
	    "A transfer is under way; the file is truncated, unlinked, closed, the volume filled:");
	s->p->start(2);
	file_goes(s);
	expect(s, fill_volume(s, &filler), "the volume took all that fits, up to ENOSPC");
	look_at_busy_list(s);
	ask_the_tool(s);
	expect(s, got_none_of_it(s, filler), "no held block was handed out");
	puts("The transfer ends:");
	s->harmed = !expect(s, s->p->finish(2), "what went through it is right");
	expect(s, pin_holds(&s->target, 2), "what it stored is in the pinned pages");
	s->harmed = !expect(s, untouched(filler), "no byte of another file was hit") || s->harmed;
	expect(s, got_none_of_it(s, filler), "still, no held block was handed out");
	hf_close(&filler);
}

/* What the pin held can be used, and nothing else has changed. */
static void afterwards(struct scene *s)
{
	struct hf_statfs st;
	hf_file *filler;

	statfs_now(s, &st);
	expect(s, st.blocks_busy_pinned == 0, "nothing is busy any more");
	if (!s->refused) {
		expect(s, fill_volume(s, &filler) && got_of_it(s, filler) > 0,
		       "what was held can be used");
		hf_close(&filler);
		pin_must(hf_unlink(s->vol, "/filler"), "hf_unlink");
	}
	statfs_now(s, &st);
	expect(s,
	       st.blocks_free == s->before.blocks_free && st.blocks_used == s->before.blocks_used,
	       "as much is free as before");
}

static void print_finding(void *ctx, const struct hf_finding *f)
{
	(void)ctx;
	printf("    %s: %s\n", f->structure, f->text);
}

static void unmount_and_check(struct scene *s)
{
	struct hf_check_options opts = {.struct_size = sizeof(opts), .finding = print_finding};
	struct hf_check_result result;

	pin_must(hf_unmount(&s->vol), "hf_unmount");
	expect(s, hf_check(s->volume, &opts, &result) == 0 && result.findings == 0,
	       "fsck finds nothing");
}

static const char *errno_name(int err)
{
	return strerrorname_np(err) ? strerrorname_np(err) : "?";
}

/* The scene has to show what the pin prevents, or it proves nothing. */
static int without_pin(const struct scene *s)
{
	if (s->refused)
		return SKIPPED;
	printf("without the pin: blocks reused: %s, another file harmed: %s\n",
	       s->reused ? "yes" : "NO", s->harmed ? "yes" : "NO");
	return !(s->reused && s->harmed);
}

static int play(struct scene *s)
{
	struct utsname u;
	struct hf_info info;
	char result[160] = "works";
	int err;

	uname(&u);
	pin_must(hf_info(s->vol, &info), "hf_info");
	printf("%s on %s (%s), kernel %s, %s\n", s->p->name, s->volume, info.kind, u.release,
	       s->scattered ? "a scattered file" : "a file of pages of 2 MiB");
	warm_up(s);
	make_held(s);
	take_pin(s);
	err = s->p->attach(&s->target);
	if (err) {
		snprintf(result, sizeof(result), "refused: %s (%s)", errno_name(-err), s->p->call);
		printf("  %s\n", result);
		s->refused = true;
		file_goes(s);
		look_at_busy_list(s);
	} else {
		if (s->no_pin)
			pin_must(hf_unpin(s->vol, s->pin), "hf_unpin");
		first_round(s);
		second_round(s);
		puts("Let go, unpinned:");
		s->p->detach();
	}
	if (s->refused || !s->no_pin)
		pin_must(hf_unpin(s->vol, s->pin), "hf_unpin");
	if (!s->refused)
		pin_must(hf_unlink(s->vol, "/filler"), "hf_unlink");
	afterwards(s);
	unmount_and_check(s);
	if (s->no_pin)
		return without_pin(s);
	printf("row\t%s\t%s\t%s\t%s\t%s\t%s\n", s->p->name, u.release, info.kind,
	       s->scattered ? "scattered" : "2 MiB", s->wrong ? "WRONG" : result, s->busy);
	return s->wrong != 0;
}

static int usage(const struct pinner *p)
{
	fprintf(stderr,
		"usage: pin_%s [--scattered] [--no-pin] [--remove] [--tool HOLDFAST] VOLUME\n"
		"VOLUME is overwritten. --no-pin: the range is unpinned too early; succeeds if the "
		"harm is seen.\n",
		p->name);
	return 2;
}

int pinner_main(int argc, char **argv, const struct pinner *p)
{
	struct hf_format_options fmt = {
	    .struct_size = sizeof(fmt), .bytes = VOLUME_BYTES, .force = true};
	static struct scene s;
	/* nothing here is about power failures, and disks are slow */
	struct hf_mount_options mount = {.struct_size = sizeof(mount), .flags = HF_MOUNT_NO_MSYNC};
	const char *why = "";
	int err;

	s.p = p;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--scattered") == 0)
			s.scattered = true;
		else if (strcmp(argv[i], "--no-pin") == 0)
			s.no_pin = true;
		else if (strcmp(argv[i], "--remove") == 0)
			s.remove = true;
		else if (strcmp(argv[i], "--tool") == 0 && i + 1 < argc)
			s.command = argv[++i];
		else if (argv[i][0] != '-' && !s.volume)
			s.volume = argv[i];
		else
			return usage(p);
	}
	if (!s.volume)
		return usage(p);
	setvbuf(stdout, NULL, _IOLBF, 0);
	err = p->prepare(&why);
	if (err) {
		printf("skipped: %s: %s: %s\n", p->name, why, strerror(-err));
		return SKIPPED;
	}
	pin_must(hf_format(s.volume, &fmt), s.volume);
	pin_must(hf_mount(&s.vol, s.volume, &mount), s.volume);
	err = play(&s);
	if (s.remove)
		unlink(s.volume);
	return err;
}
