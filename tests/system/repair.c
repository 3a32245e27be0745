/* Damages filled volumes, repairs them, and holds the repair to what it promises: a second run finds nothing, the volume mounts, all
 * of it can be read, files that were not hit are as they were, and it can be written.
 *
 *	repair --table			every structure, every kind of damage, checksums put right where the damage needs it
 *	repair --cases 200 [--seed S]	random damage
 *	repair --case N [--seed S]	one of those again, in this process, every finding printed
 *	repair --kill CASES		killed at every block that a repair writes, half of which is written; undo files; -p */
#include "system/damage.h"
#include "system/rng.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VOLUME_BYTES (24ull << 20)
#define CASE_SECONDS 60

enum damage { FLIP, ZERO, SWAP, OUTSIDE, CROSS, CYCLE, GARBAGE, DAMAGES };
static const char *const damage_names[DAMAGES] = {"bit flip", "zeroed", "swapped", "outside", "cross-linked", "cycle", "garbage"};

struct result {
	bool done;
	bool wrong;			/* a promise is broken: text says which */
	bool detected;
	int refused;			/* the repair's error */
	uint64_t findings, repaired, left;
	uint64_t intact, hit, lost;	/* files; lost: of those that were hit */
	char text[400], first[400], repair[200];
};

static struct base {
	uint8_t *bytes;
	struct image im;
	struct manifest m;
} bases[2];				/* unmounted; crashed */
static char vol_path[256];
static bool verbose;
static struct result *res;

/* ---- a repair that is killed: in the middle of the block that is written n-th */

void __real_pm_copy_nt_any(struct pm *pm, moff_t off, const void *src, uint64_t len);
void __wrap_pm_copy_nt_any(struct pm *pm, moff_t off, const void *src, uint64_t len);
static uint64_t kill_at;		/* 0: never */

/* Up to the middle of what it changes. */
static uint64_t tear(const uint8_t *was, const uint8_t *will, uint64_t len)
{
	uint64_t first = 0, last = len;

	while (first < len && was[first] == will[first])
		first++;
	while (last > first && was[last - 1] == will[last - 1])
		last--;
	return (first + last) / 2 & ~7ull;
}

void __wrap_pm_copy_nt_any(struct pm *pm, moff_t off, const void *src, uint64_t len)
{
	if (kill_at && --kill_at == 0) {
		__real_pm_copy_nt_any(pm, off, src, tear(pm_at(pm, off), src, len));
		_exit(0);
	}
	__real_pm_copy_nt_any(pm, off, src, len);
}

/* The same volume each time, so that a case can be tried again. */
int __wrap_hash_random(void *p, size_t len);
int __wrap_hash_random(void *p, size_t len)
{
	static uint64_t n;
	uint64_t x = rng_mix(++n * 0x9e3779b97f4a7c15ull);

	memset(p, (int)n, len);
	memcpy(p, &x, len < 8 ? len : 8);
	return 0;
}

static void wrong(const char *what)
{
	if (!res->wrong)
		snprintf(res->text, sizeof(res->text), "%.150s: %.200s", what, hf_errormsg());
	res->wrong = true;
}

/* ---- the volumes that are damaged */

static void base_read(struct base *b)
{
	int fd = open(vol_path, O_RDONLY);
	hf_volume *vol;

	b->bytes = malloc(VOLUME_BYTES);
	if (fd < 0 || !b->bytes || read(fd, b->bytes, VOLUME_BYTES) != (ssize_t)VOLUME_BYTES) {
		perror(vol_path);
		exit(1);
	}
	close(fd);
	image_open(&b->im, b->bytes, VOLUME_BYTES);
	image_list(&b->im);
	if (hf_mount(&vol, vol_path, NULL) || damage_walk(vol, &b->m) || hf_unmount(&vol)) {
		fprintf(stderr, "the undamaged volume: %s\n", hf_errormsg());
		exit(1);
	}
}

static void bases_make(void)
{
	snprintf(vol_path, sizeof(vol_path), "%s/hf-repair-%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
	damage_fill(vol_path, VOLUME_BYTES, false);
	base_read(&bases[0]);
	damage_fill(vol_path, VOLUME_BYTES, true);
	base_read(&bases[1]);
}

/* ---- damage */

static uint64_t entry_to(uint64_t entry, uint64_t blk)
{
	return (entry & ~0xffffffffffull) | blk;
}

static void retarget(struct image *im, const struct object *o, uint64_t ino, unsigned type)
{
	struct fmt_dirent *d = (void *)(im->bytes + o->off);
	uint64_t t = le64_get(d->target);

	d->target = le64_of((t & 0x00ff000000000000ull) | ino | (uint64_t)type << 56);
	object_seal(im, o);
}

static void seal_root(struct image *im, struct fmt_inode *i, uint64_t low48)
{
	uint64_t low = low48 & 0xffffffffffffull;

	i->root = le64_of(low | fmt_entry_check(fmt_map_key(&im->geo, INUM(le64_get(i->ino)), FMT_FORK_DATA), i->height, FBLK(0), low));
}

static bool do_outside(struct image *im, const struct object *o)
{
	void *p = im->bytes + o->off;
	le64_t *w = p;

	switch (o->kind) {
	case OBJ_SUPER:
		((struct fmt_super *)p)->lanes_off = le64_of(im->geo.bytes * 2);
		break;
	case OBJ_INODE:
		if (!le64_get(((struct fmt_inode *)p)->root))
			return false;
		seal_root(im, p, entry_to(le64_get(((struct fmt_inode *)p)->root), im->geo.nblocks + 7));
		break;
	case OBJ_ITMAP:
	case OBJ_ENTRY:
	case OBJ_HUGE:
		if (o->len != 8)
			return false;
		*w = le64_of(entry_to(le64_get(*w), im->geo.nblocks + 512));
		break;
	case OBJ_BUCKET:
		((struct fmt_bucket_head *)p)->prefix = le64_of(1ull << 40);
		break;
	case OBJ_DIRENT:
		retarget(im, o, 0xfffffffff, DT_REG);
		break;
	case OBJ_ORPHAN:
		*(struct fmt_orphan *)p = (struct fmt_orphan){.ino = le64_of(0xfffffffff), .gen = le64_of(1), .kind = FMT_ORPHAN_INODE};
		break;
	case OBJ_XATTR:
		((struct fmt_xattr_head *)p)->bytes = le32_of(1u << 30);
		break;
	default:
		return false;
	}
	object_seal(im, o);
	return true;
}

static bool do_cross(struct image *im, struct manifest *m, const struct object *o, struct rng *r)
{
	unsigned k;
	void *p = im->bytes + o->off;
	le64_t *w = p;
	const struct object *other = image_pick(im, o->kind, rng_next(r));

	if (other->off == o->off || other->ino == o->ino)
		other = image_pick(im, o->kind, rng_next(r));
	switch (o->kind) {
	case OBJ_ITMAP:
	case OBJ_ENTRY:
	case OBJ_HUGE:
		if (o->len != 8 || other->len != 8)
			return false;
		*w = le64_of(entry_to(le64_get(*w), le64_get(*(le64_t *)(void *)(im->bytes + other->off)) & 0xffffffffff));
		break;
	case OBJ_INODE: {
		struct fmt_inode *i = p, *j = (void *)(im->bytes + other->off);

		for (k = 0; k < 500 && (i->height == 0 || j->height > 0 || !le64_get(j->root) || i == j); k++) {
			other = image_pick(im, OBJ_INODE, rng_next(r));
			if (i->height == 0 && S_ISREG(le32_get(((struct fmt_inode *)(void *)(im->bytes + other->off))->mode)))
				i = (void *)(im->bytes + other->off);	/* a file's map, to lead into another's content */
			else
				j = (void *)(im->bytes + other->off);
		}
		if (!le64_get(i->root) || !le64_get(j->root) || i == j || le64_get(i->ino) < FMT_INO_FIRST)
			return false;
		damage_hits(im, m, (uint64_t)((uint8_t *)i - im->bytes), sizeof(*i));
		seal_root(im, i, entry_to(le64_get(i->root), le64_get(j->root) & 0xffffffffff));
		i->csum = le64_of(fmt_inode_csum(&im->geo, i));
		break;
	}
	case OBJ_DIRENT:
		retarget(im, o, other->ino, DT_DIR);
		break;
	case OBJ_ORPHAN: {
		struct fmt_orphan s = {.ino = le64_of(20), .gen = le64_of(1), .kind = FMT_ORPHAN_SUBTREE};
		const struct object *e = image_pick(im, OBJ_ENTRY, rng_next(r));

		s.ino = le64_of(e->ino);
		s.fblk = le64_of(e->fblk);
		s.level = (uint8_t)e->level;
		s.fork = (uint8_t)e->fork;
		s.entry = *(le64_t *)(void *)(im->bytes + e->off);
		*(struct fmt_orphan *)p = s;
		break;
	}
	default:
		return false;
	}
	object_seal(im, o);
	return true;
}

/* A directory that leads to itself: the name in its parent becomes another file's, and a name below it becomes its own. */
static bool dir_cycle(struct image *im, struct rng *r)
{
	const struct object *o, *up = NULL, *down = NULL;
	uint64_t child = 0, i, parent;
	const struct fmt_dirent *d;

	for (i = 0; i < 200 && !child; i++) {
		o = image_pick(im, OBJ_DIRENT, rng_next(r));
		d = (const void *)(im->bytes + o->off);
		if (FMT_DIRENT_TYPE(le64_get(d->target)) == DT_DIR && o->ino != FMT_INO_ROOT)
			child = FMT_DIRENT_INO(le64_get(d->target));
	}
	if (!child)
		return false;
	parent = o->ino;
	for (i = 0; i < im->n; i++) {
		o = &im->obj[i];
		d = (const void *)(im->bytes + o->off);
		if (o->kind == OBJ_DIRENT && FMT_DIRENT_INO(le64_get(d->target)) == parent)
			up = o;
		else if (o->kind == OBJ_DIRENT && o->ino == child && FMT_DIRENT_TYPE(le64_get(d->target)) == DT_REG)
			down = o;
	}
	if (!up || !down)
		return false;
	d = (const void *)(im->bytes + down->off);
	retarget(im, up, FMT_DIRENT_INO(le64_get(d->target)), DT_REG);
	retarget(im, down, parent, DT_DIR);
	return true;
}

/* A node that has itself below it; the last of its entries, that only levels above the first can have. */
static bool node_cycle(struct image *im, const struct object *o)
{
	uint64_t i;

	for (i = 0; i < im->n; i++) {
		const struct object *e = &im->obj[i];

		if (e->off >= o->off && e->off < o->off + HF_BLOCK_SIZE && e->kind == OBJ_ENTRY && e->level >= 1) {
			uint64_t now = le64_get(*(le64_t *)(void *)(im->bytes + e->off));

			*(le64_t *)(void *)(im->bytes + e->off) = le64_of(entry_to(now, o->off >> HF_BLOCK_SHIFT));
			object_seal(im, e);
			return true;
		}
	}
	return false;
}

static bool apply(struct base *b, const struct object *o, enum damage how, struct rng *r)
{
	struct image *im = &b->im;
	uint8_t *p = im->bytes + o->off, tmp[HF_BLOCK_SIZE * 4];
	uint64_t len = min_u64(o->len, sizeof(tmp)), k;
	const struct object *other;

	damage_hits(im, &b->m, o->off, o->len);
	switch (how) {
	case FLIP:
		k = rng_next(r) % (len * 8);
		p[k / 8] ^= (uint8_t)(1u << (k % 8));
		return true;
	case ZERO:
		memset(p, 0, len);
		return true;
	case GARBAGE:
		for (k = 0; k < len; k++)
			p[k] = (uint8_t)rng_next(r);
		return true;
	case SWAP:
		other = image_pick(im, o->kind, rng_next(r));
		if (other->off == o->off)
			other = image_pick(im, o->kind, rng_next(r));
		if (other->off == o->off)
			return false;
		len = min_u64(len, other->len);
		damage_hits(im, &b->m, other->off, other->len);
		memcpy(tmp, p, len);
		memmove(p, im->bytes + other->off, len);
		memcpy(im->bytes + other->off, tmp, len);
		return true;
	case OUTSIDE:
		return do_outside(im, o);
	case CROSS:
		return do_cross(im, &b->m, o, r);
	case CYCLE:
		return o->kind == OBJ_DIRENT ? dir_cycle(im, r) : o->kind == OBJ_NODE && node_cycle(im, o);
	default:
		return false;
	}
}

static bool random_damage(struct base *b, struct rng *r)
{
	enum object_kind kind = (enum object_kind)(rng_next(r) % OBJ_KINDS);
	const struct object *o = image_pick(&b->im, kind, rng_next(r));
	struct object raw = {.kind = OBJ_NODE, .len = 1 + rng_next(r) % 600};
	bool done;

	if (rng_next(r) % 4 == 0) {	/* anywhere */
		raw.off = rng_next(r) % (VOLUME_BYTES - raw.len);
		return apply(b, &raw, rng_next(r) % 2 ? GARBAGE : ZERO, r);
	}
	if (!o)
		return false;
	done = apply(b, o, (enum damage)(rng_next(r) % DAMAGES), r);
	if (done && rng_next(r) % 3 == 0)
		object_seal(&b->im, o);
	return done;
}

/* ---- repair, and what must be true afterwards */

static void finding(void *ctx, const struct hf_finding *f)
{
	(void)ctx;
	if (!*res->first) {
		snprintf(res->first, sizeof(res->first), "%s: %s", f->structure, f->text);
	}
	if (f->repair && !*res->repair)
		snprintf(res->repair, sizeof(res->repair), "%s", f->repair);
	if (verbose)
		printf("  %s: %s%s%s\n", f->structure, f->text, f->repair ? ": " : "", f->repair ? f->repair : "");
}

static int check(unsigned flags, struct hf_check_result *out)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .flags = flags, .finding = finding};

	if (verbose)
		printf("%s\n", flags ? "repair" : "verify");
	return hf_check(vol_path, &o, out);
}

static void compare(struct manifest *now, struct manifest *was)
{
	uint64_t i;

	for (i = 0; i < was->n; i++) {
		struct known *k = &was->v[i], *l = damage_known(now, k->ino);
		bool same = l && l->size == k->size && l->hash == k->hash && (l->mode & S_IFMT) == (k->mode & S_IFMT);

		if (same)
			res->intact++;
		else if (k->hit)
			res->lost++;
		res->hit += k->hit;
		if (!same && !k->hit) {
			wrong("a file that was not hit is not what it was");
			snprintf(res->text, sizeof(res->text), "inode %llu (%s) was not hit, and %s", (unsigned long long)k->ino, k->path,
				 l ? "is not what it was" : "is gone");
		}
	}
}

static void after(struct manifest *was, bool strict)
{
	struct hf_check_result r;
	struct manifest now = {0};
	struct hf_mount_options small = {.struct_size = sizeof(small), .max_cached_inodes = 1024};
	hf_volume *vol;
	hf_file *f;

	if (check(0, &r) || r.findings)
		wrong(r.findings ? res->first : "the second check");
	if (hf_mount(&vol, vol_path, &small)) {
		wrong("mount");
		return;
	}
	if (damage_walk(vol, &now))
		wrong("walk");
	else if (strict)
		compare(&now, was);
	if (hf_open(vol, "/after the repair", HF_O_RDWR | HF_O_CREAT, 0600, &f) || hf_pwrite(f, "written", 7, 100000) != 7 || hf_close(&f))
		wrong("write");
	if (hf_unmount(&vol))
		wrong("unmount");
	*res->first = '\0';
	if (check(0, &r) || r.findings)
		wrong(r.findings ? res->first : "the check after a write");
	free(now.v);
}

/* Only what is different: most of it is there from the case before. */
static void store(const uint8_t *bytes)
{
	int fd = open(vol_path, O_RDWR | O_CREAT, 0600);
	uint8_t now[HF_BLOCK_SIZE];
	uint64_t at;
	bool bad = fd < 0 || ftruncate(fd, VOLUME_BYTES) != 0;

	for (at = 0; at < VOLUME_BYTES && !bad; at += sizeof(now)) {
		bad = pread(fd, now, sizeof(now), (off_t)at) != (ssize_t)sizeof(now);
		if (!bad && memcmp(now, bytes + at, sizeof(now)) != 0)
			bad = pwrite(fd, bytes + at, sizeof(now), (off_t)at) != (ssize_t)sizeof(now);
	}
	if (bad) {
		perror(vol_path);
		_exit(1);
	}
	close(fd);
}

static void one_case(struct base *b, bool strict)
{
	struct hf_check_result r;
	char first[400];
	int err;

	store(b->im.bytes);
	err = check(0, &r);
	res->detected = err || r.findings;
	res->findings = r.findings;
	if (err)
		snprintf(res->first, sizeof(res->first), "%s", hf_errormsg());
	snprintf(first, sizeof(first), "%s", res->first);
	*res->first = '\0';
	res->refused = check(HF_CHECK_REPAIR, &r);
	if (res->refused)
		snprintf(res->text, sizeof(res->text), "%s", hf_errormsg());
	res->repaired = r.repaired;
	res->left = r.unrepaired;
	if (!res->refused && !res->left)
		after(&b->m, strict);
	snprintf(res->first, sizeof(res->first), "%s", first);
	res->done = true;
}

/* In a child, so that a crash and a hang are seen for what they are. The damage is done in the child too: the base stays. */
static void in_child(void (*fn)(void *ctx), void *ctx)
{
	int status;
	pid_t pid;

	memset(res, 0, sizeof(*res));
	fflush(stdout);
	pid = verbose ? 0 : fork();
	if (pid == 0) {
		if (!verbose)
			alarm(CASE_SECONDS);
		fn(ctx);
		if (verbose)
			return;
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		exit(1);
	}
	if (WIFSIGNALED(status)) {
		res->wrong = true;
		snprintf(res->text, sizeof(res->text), WTERMSIG(status) == SIGALRM ? "hangs" : "dies of signal %d", WTERMSIG(status));
	} else if (status || (!res->done && !res->wrong)) {
		res->wrong = true;
		snprintf(res->text, sizeof(res->text), "exit status %d", WEXITSTATUS(status));
	}
}

/* ---- the table */

struct cell {
	enum object_kind kind;
	enum damage how;
	uint64_t seed;
	bool applied;
};

static void cell_run(void *ctx)
{
	struct cell *t = ctx;
	bool crashed = t->kind == OBJ_JOURNAL || t->kind == OBJ_ORPHAN;
	struct base *b = &bases[crashed];
	struct rng r;
	const struct object *o;

	r = (struct rng){t->seed * 1000 + t->kind * 10 + t->how};
	o = image_pick(&b->im, t->kind, rng_next(&r));
	if (!o || !apply(b, o, t->how, &r)) {
		res->done = true;
		snprintf(res->text, sizeof(res->text), "n/a");
		return;
	}
	one_case(b, !crashed && t->kind != OBJ_CKPT);
}

static const char *outcome(void)
{
	if (res->wrong)
		return "WRONG";
	if (!strcmp(res->text, "n/a"))
		return "n/a";
	if (res->refused)
		return "refused";
	if (res->left)
		return "left alone";
	if (res->repaired)
		return "repaired";
	return res->detected ? "UNREPAIRED" : "harmless";
}

static unsigned table(uint64_t seeds)
{
	unsigned bad = 0;
	struct cell t;

	printf("| structure | damage | found | outcome |\n| --- | --- | --- | --- |\n");
	for (t.kind = 0; t.kind < OBJ_KINDS; t.kind++)
		for (t.how = 0; t.how < GARBAGE; t.how++)
			for (t.seed = 0; t.seed < seeds; t.seed++) {
				in_child(cell_run, &t);
				bad += res->wrong;
				if (strcmp(outcome(), "n/a") && (t.seed == 0 || res->wrong))
					printf("| %s | %s | %s | %s: %s |\n", object_names[t.kind], damage_names[t.how],
					       *res->first ? res->first : "-", outcome(),
					       *res->text ? res->text : (*res->repair ? res->repair : "-"));
			}
	return bad;
}

/* ---- random damage */

struct random_case {
	uint64_t seed, number;
};

static void random_run(void *ctx)
{
	struct random_case *k = ctx;
	unsigned n, i;
	struct rng r;

	r = (struct rng){k->seed * 1000003 + k->number};
	n = 1 + (unsigned)(rng_next(&r) % 3);
	for (i = 0; i < n; i++)
		if (!random_damage(&bases[0], &r))
			n += n < 20;
	one_case(&bases[0], true);
}

static unsigned randoms(uint64_t seed, uint64_t from, uint64_t cases)
{
	uint64_t refused = 0, left = 0, repaired = 0, harmless = 0, crashed = 0, hung = 0, whole = 0, hit = 0, lost = 0, files = 0;
	unsigned bad = 0;
	struct random_case k = {seed, from};

	for (; k.number < from + cases; k.number++) {
		in_child(random_run, &k);
		if (res->wrong) {
			bad++;
			crashed += !strncmp(res->text, "dies", 4);
			hung += !strcmp(res->text, "hangs");
			printf("case %llu: %s\n  found: %s\n  again: repair --seed %llu --case %llu\n", (unsigned long long)k.number, res->text,
			       res->first, (unsigned long long)seed, (unsigned long long)k.number);
			continue;
		}
		refused += res->refused != 0;
		left += !res->refused && res->left;
		repaired += !res->refused && !res->left && res->repaired;
		harmless += !res->refused && !res->left && !res->repaired;
		whole += !res->refused && !res->left && res->repaired && res->lost == 0;
		hit += res->hit;
		lost += res->lost;
		files += res->intact + res->lost;
	}
	printf("%llu random cases (seed %llu): %llu repaired, %llu refused with a sentence, %llu with something left alone, %llu harmless; "
	       "%llu crashes, %llu hangs, %u broken promises\n",
	       (unsigned long long)cases, (unsigned long long)seed, (unsigned long long)repaired, (unsigned long long)refused,
	       (unsigned long long)left, (unsigned long long)harmless, (unsigned long long)crashed, (unsigned long long)hung, bad);
	printf("in the repaired ones every file that was not hit is as it was; %llu of them lost nothing at all; of %llu files, %llu were hit "
	       "and %llu lost or changed\n",
	       (unsigned long long)whole, (unsigned long long)files, (unsigned long long)hit, (unsigned long long)lost);
	return bad;
}

/* ---- killed repairs, undo, preen */

struct kill_case {
	uint64_t seed, at, undo_at;
	bool preen;
};

static void damage_for(const struct kill_case *k)
{
	struct rng r = {k->seed * 7919};
	const struct object *o;
	unsigned i;

	/* a directory that loses a bucket, and is built again */
	do
		o = image_pick(&bases[0].im, OBJ_BUCKET, rng_next(&r));
	while (o->ino == FMT_INO_ROOT);
	for (i = 0; i < bases[0].im.n && !k->preen; i++) {
		const struct object *e = &bases[0].im.obj[i];

		if (e->kind == OBJ_ENTRY && e->ino == o->ino && e->level == 0) {
			apply(&bases[0], e, ZERO, &r);
			break;
		}
	}

	for (i = 0; i < 4; i++)
		if (k->preen ? !apply(&bases[0], image_pick(&bases[0].im, OBJ_LINE, rng_next(&r)), FLIP, &r) : !random_damage(&bases[0], &r))
			i -= i > 0;
}

/* First child: is killed, or comes to the end. */
static void kill_run(void *ctx)
{
	struct kill_case *k = ctx;
	struct hf_check_result r;

	damage_for(k);
	store(bases[0].im.bytes);
	kill_at = k->at;
	res->refused = check(HF_CHECK_REPAIR, &r);
	res->repaired = r.repaired;
	res->left = r.unrepaired;
	res->done = true;
}

/* Second child: the next repair. */
static void kill_after(void *ctx)
{
	struct hf_check_result r;

	damage_for(ctx);		/* says who is hit */
	if (check(0, &r))
		wrong("the check behind the kill");
	*res->first = '\0';
	if (check(HF_CHECK_REPAIR, &r) || r.unrepaired)
		wrong(r.unrepaired ? res->first : "the next repair");
	*res->first = '\0';
	after(&bases[0].m, true);
	(void)check(0, &r);
	res->findings = r.names;
	res->done = true;
}

static void kill_straight(void *ctx)
{
	damage_for(ctx);
	one_case(&bases[0], true);
	if (!res->left && !res->refused) {
		struct hf_check_result r;

		(void)check(0, &r);
		res->findings = r.names;
	}
}

static unsigned told(const char *what, uint64_t seed, uint64_t at)
{
	if (res->wrong)
		printf("%s, seed %llu, at %llu: %s\n", what, (unsigned long long)seed, (unsigned long long)at, res->text);
	return res->wrong;
}

/* Every place at which a repair can be killed; over some of many. */
static unsigned kill_one(uint64_t seed, uint64_t *kills)
{
	struct kill_case k = {.seed = seed, .at = 1};
	unsigned bad = 0;
	uint64_t intact, names;
	bool done = false;

	in_child(kill_straight, &k);	/* what is there in the end must not depend on the kill */
	if (res->left || res->refused)
		return 0;		/* it is not repaired in one go: another test's */
	bad += told("straight", seed, 0);
	intact = res->intact;
	names = res->findings;
	for (; !done && !bad; k.at += k.at < 40 ? 1 : 1 + k.at / 16) {
		memset(res, 0, sizeof(*res));
		fflush(stdout);
		pid_t pid = fork();

		if (pid == 0) {
			kill_run(&k);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		done = res->done;
		in_child(kill_after, &k);
		if (!res->wrong && (res->intact != intact || res->findings != names)) {
			res->wrong = true;
			snprintf(res->text, sizeof(res->text), "%llu files as they were and %llu names, not %llu and %llu",
				 (unsigned long long)res->intact, (unsigned long long)res->findings, (unsigned long long)intact,
				 (unsigned long long)names);
		}
		bad += told("killed", seed, k.at);
		++*kills;
	}
	return bad;
}

static void undo_run(void *ctx)
{
	struct kill_case *k = ctx;
	struct hf_check_options o = {.struct_size = sizeof(o), .flags = HF_CHECK_REPAIR, .finding = finding};
	struct hf_check_result before, r;
	char undo[300];
	hf_volume *vol;

	damage_for(k);
	store(bases[0].im.bytes);
	snprintf(undo, sizeof(undo), "%s.undo", vol_path);
	unlink(undo);
	o.undo_path = undo;
	res->done = true;
	if (check(0, &before) || hf_check(vol_path, &o, &r) || r.unrepaired || !r.repaired)
		return;
	if (hf_check_undo(vol_path, undo))
		wrong("undo");
	if (check(0, &r) || r.findings != before.findings)
		wrong("the volume after the undo is another one");
	if (hf_check(vol_path, &o, &r) != -EEXIST)
		wrong("an undo file was overwritten");
	unlink(undo);
	if (hf_check(vol_path, &o, &r) || !r.repaired)
		wrong("repair after undo");
	if (hf_mount(&vol, vol_path, NULL) || hf_unmount(&vol))
		wrong("mount");
	if (hf_check_undo(vol_path, undo) != -ESTALE)
		wrong("undo of a volume that was mounted since");
	unlink(undo);
}

static bool volume_is(const uint8_t *bytes)
{
	uint8_t *now = malloc(VOLUME_BYTES);
	int fd = open(vol_path, O_RDONLY);
	bool same = fd >= 0 && now && read(fd, now, VOLUME_BYTES) == (ssize_t)VOLUME_BYTES && !memcmp(now, bytes, VOLUME_BYTES);

	if (fd >= 0)
		close(fd);
	free(now);
	return same;
}

/* No room for the undo file: nothing is repaired. */
static void undo_full_run(void *ctx)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .flags = HF_CHECK_REPAIR, .finding = finding};
	struct rlimit limit = {10000, 10000};
	struct hf_check_result r;
	char undo[300];

	damage_for(ctx);
	store(bases[0].im.bytes);
	snprintf(undo, sizeof(undo), "%s.undo", vol_path);
	unlink(undo);
	o.undo_path = undo;
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		wrong("setrlimit");
	if (hf_check(vol_path, &o, &r) != -EFBIG)
		wrong("a repair whose undo file cannot be written");
	if (!volume_is(bases[0].im.bytes))
		wrong("it changed the volume");
	if (access(undo, F_OK) == 0)
		wrong("half of an undo file is left");
	res->done = true;
}

/* No block is in use, say the allocation lines: what a repair or an undo puts into free space then falls on what the files have. */
static void lines_zeroed(void)
{
	struct rng r = {1};
	unsigned i;

	for (i = 0; i < bases[0].im.n; i++)
		if (bases[0].im.obj[i].kind == OBJ_LINE)
			apply(&bases[0], &bases[0].im.obj[i], ZERO, &r);
}

static void undo_name(char *out, size_t size, const char *suffix)
{
	snprintf(out, size, "%s.%s", vol_path, suffix);
}

static void repair_with_undo(const char *suffix)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .flags = HF_CHECK_REPAIR, .finding = finding};
	struct hf_check_result r;
	char undo[300];

	lines_zeroed();
	store(bases[0].im.bytes);
	undo_name(undo, sizeof(undo), suffix);
	unlink(undo);
	o.undo_path = undo;
	res->refused = hf_check(vol_path, &o, &r);
	res->done = true;
}

/* The undo file of an earlier repair of the same damage. */
static void undo_older(void *ctx)
{
	uint64_t other;

	(void)ctx;
	(void)__wrap_hash_random(&other, sizeof(other));	/* or the two files have the same id */
	repair_with_undo("older");
}

/* First child: a repair that is killed. Second: it is undone, which is killed too. Third: undone, and repaired. */
static void undo_kill_run(void *ctx)
{
	struct kill_case *k = ctx;

	kill_at = k->at;
	repair_with_undo("undo");
}

static bool is_marked(void)
{
	struct fmt_super s = {0};
	int fd = open(vol_path, O_RDONLY);

	if (fd < 0 || pread(fd, &s, sizeof(s), 0) != sizeof(s))
		wrong("the superblock cannot be read");
	close(fd);
	return geo_verify_super(&s, VOLUME_BYTES, 0) == 0 && le64_get(s.incompat) & FMT_INCOMPAT_REPAIR;
}

/* Whatever stands there: only the file of what was interrupted is taken. */
static void older_refused(void)
{
	char undo[300];

	undo_name(undo, sizeof(undo), "older");
	if (is_marked() && hf_check_undo(vol_path, undo) != -ESTALE)
		wrong("an older undo file was taken for an interrupted repair");
}

static void undo_kill_undo(void *ctx)
{
	struct kill_case *k = ctx;
	char undo[300];

	older_refused();
	undo_name(undo, sizeof(undo), "undo");
	kill_at = k->undo_at;
	if (hf_check_undo(vol_path, undo))
		wrong("undo of a repair that was killed");
	res->done = true;
}

static void undo_kill_after(void *ctx)
{
	struct hf_check_result r;
	char undo[300];

	(void)ctx;
	lines_zeroed();
	older_refused();
	undo_name(undo, sizeof(undo), "undo");
	if (hf_check_undo(vol_path, undo))
		wrong("undo of an undo that was killed");
	if (check(HF_CHECK_REPAIR, &r) || r.unrepaired)
		wrong(r.unrepaired ? res->first : "the repair after the undo");
	*res->first = '\0';
	after(&bases[0].m, true);
	unlink(undo);
	res->done = true;
}

/* exit(0) is a kill, too: in_child() complains of it unless it is told. */
static bool runs_through(void (*fn)(void *ctx), struct kill_case *k)
{
	in_child(fn, k);
	if (res->wrong && strcmp(res->text, "exit status 0") == 0)
		return false;
	return true;
}

static unsigned undo_kills(void)
{
	struct kill_case k = {.at = 1};
	unsigned bad = 0, n = 0;
	bool done = false, undone;
	char older[300];

	in_child(undo_older, NULL);
	for (; !done && !bad; k.at++) {
		for (k.undo_at = 1, undone = false; !undone && !bad; k.undo_at++, n++) {
			done = runs_through(undo_kill_run, &k);
			bad += done && told("repair with an undo file", k.at, k.undo_at);
			undone = runs_through(undo_kill_undo, &k);
			bad += undone && told("undo", k.at, k.undo_at);
			in_child(undo_kill_after, &k);
			bad += told("undo again", k.at, k.undo_at);
		}
	}
	undo_name(older, sizeof(older), "older");
	unlink(older);
	printf("%u undos of killed repairs, killed themselves: %u broken promises\n", n, bad);
	return bad;
}

/* A list that overwrites itself while it is read, by a longer one that goes on up to the end of the volume and behind it. */
static void hostile_list(void *ctx)
{
	uint8_t *bytes = bases[0].im.bytes;
	struct fmt_super *s = (struct fmt_super *)(void *)bytes;
	uint64_t n = VOLUME_BYTES / HF_BLOCK_SIZE, seed = le64_get(s->seed), at = n - 2, self = n - 3, other = n - 4;
	struct fmt_redo *r = (struct fmt_redo *)(void *)(bytes + at * HF_BLOCK_SIZE);
	struct fmt_redo_entry more = {le64_of(other), le64_of(other), le64_of(0)};
	struct hf_check_result out;
	uint8_t *p;

	(void)ctx;
	s->incompat = le64_of(le64_get(s->incompat) | FMT_INCOMPAT_REPAIR);
	s->repair = le64_of(at);
	s->csum = le64_of(geo_super_csum(s));
	more.csum = le64_of(hash_bytes(bytes + other * HF_BLOCK_SIZE, HF_BLOCK_SIZE, hash_mix2(seed, other)));
	for (p = (uint8_t *)r->entry; p < bytes + VOLUME_BYTES; p += sizeof(more))
		memcpy(p, &more, min_u64(sizeof(more), (uint64_t)(bytes + VOLUME_BYTES - p)));
	r->magic = le32_of(FMT_REDO_MAGIC);
	r->count = le32_of(UINT32_MAX);
	r->next = le64_of(0);
	r->self = le64_of(at);
	memcpy(bytes + self * HF_BLOCK_SIZE, r, HF_BLOCK_SIZE);
	r->count = le32_of(1);
	r->entry[0] = (struct fmt_redo_entry){le64_of(at), le64_of(self),
					      le64_of(hash_bytes(bytes + self * HF_BLOCK_SIZE, HF_BLOCK_SIZE, hash_mix2(seed, at)))};
	r->csum = le64_of(hash_bytes((const uint8_t *)r + 8, sizeof(*r) - 8, hash_mix2(seed, at)));
	store(bytes);
	(void)check(HF_CHECK_REPAIR, &out);
	if (check(0, &out))
		wrong("the check behind a list that overwrites itself");
	res->done = true;
}

static void preen_run(void *ctx)
{
	struct kill_case *k = ctx;
	struct hf_check_result r;
	const struct object *o;
	struct rng rng = {k->seed};

	damage_for(k);
	store(bases[0].im.bytes);
	if (check(HF_CHECK_PREEN, &r) || r.unrepaired || !r.repaired || check(0, &r) || r.findings)
		wrong("preen repairs what loses nothing");
	do
		o = image_pick(&bases[0].im, OBJ_ENTRY, rng_next(&rng));
	while (!o->ino || !apply(&bases[0], o, OUTSIDE, &rng));
	store(bases[0].im.bytes);
	if (check(HF_CHECK_PREEN, &r) || r.repaired || !r.unrepaired)
		wrong("preen leaves the rest alone");
	if (!volume_is(bases[0].im.bytes))
		wrong("preen wrote although it did not repair");
	if (check(0, &r) || !volume_is(bases[0].im.bytes))
		wrong("a check wrote");
	res->done = true;
}

static unsigned kills(uint64_t cases)
{
	struct kill_case k = {.seed = 0};
	uint64_t n = 0;
	unsigned bad = undo_kills();

	in_child(hostile_list, NULL);
	bad += told("a list that overwrites itself", 0, 0);
	for (k.seed = 1; k.seed <= cases; k.seed++) {
		bad += kill_one(k.seed, &n);
		k.preen = false;
		in_child(undo_run, &k);
		bad += told("undo", k.seed, 0);
		in_child(undo_full_run, &k);
		bad += told("full undo", k.seed, 0);
		k.preen = true;
		in_child(preen_run, &k);
		bad += told("preen", k.seed, 0);
	}
	printf("%llu repairs killed at a block that was half written, finished by the next: %u broken promises\n", (unsigned long long)n, bad);
	return bad;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, killed = 0, cases = 0, one = UINT64_MAX, seeds = 0;
	unsigned bad = 0;
	int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--table"))
			seeds = i + 1 < argc && argv[i + 1][0] != '-' ? strtoull(argv[++i], NULL, 0) : 3;
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--cases") && i + 1 < argc)
			cases = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--kill") && i + 1 < argc)
			killed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--case") && i + 1 < argc)
			one = strtoull(argv[++i], NULL, 0);
		else
			return fprintf(stderr, "repair: --table [SEEDS] | --cases N | --case K [--seed S] | --kill N\n"), 2;
	}
	res = mmap(NULL, sizeof(*res), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bases_make();
	if (seeds)
		bad += table(seeds);
	if (cases)
		bad += randoms(seed, 0, cases);
	if (killed)
		bad += kills(killed);
	if (one != UINT64_MAX) {
		verbose = true;
		bad += randoms(seed, one, 1);
	}
	unlink(vol_path);
	return bad != 0;
}
