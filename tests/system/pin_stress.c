/* Threads that pin, unpin, truncate, punch, write, shift, rename, unlink, map, touch and fork on
 * a volume so small that every freed block is used again at once.
 *
 *	pin_stress [--seconds N] [--threads N] [--seed S] [--mib N] [--file PATH]
 *
 * Every aligned 8 bytes of every file are a stamp: file (a hash of number and generation), block
 * of the file, generation, place in the block, checksum. Each is whole by itself, so that a
 * reader who races with a writer needs no lock. What may be seen of a file's block, through
 * hf_pread, a view or a live pin:
 *
 *   - zeros (it was punched, zeroed, allocated, or is new), or
 *   - a stamp of this very file and this block, old or new. In the files whose blocks are
 *     shifted (COLLAPSE and INSERT move them), of this file and any block of it.
 *
 * A pinned block that left its file is in no file any more: what can be in it are the stamps
 * that it had and those of the pin's holder. So the same holds for it until the unpin, whatever
 * was made of the file, its number and its name. A stamp of another file is a block that was
 * given out while it was held.
 *
 * What a thread makes of its own file is known exactly (pin_stress_own.c): its bytes, and what
 * each of its pins shows. Every round everybody stops: all live pins are looked at, free + busy
 * + used is the whole, the busy list says what statfs says, the list of pins is as long as the
 * pins are many; every eighth round a check of the volume finds nothing. At the end of a slice
 * all pins go: nothing is busy, the volume unmounts, fsck finds nothing, and after a mount every
 * file is what it was. Children of fork: see pins_fork(). */
#include "pin_stress.h"

#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROUND 60u /* steps of each thread between two stops */

hf_volume *vol;
_Atomic uint64_t pins_held, forks;

static struct thread threads[THREADS_MAX];
static unsigned n_threads = 5;
static pthread_barrier_t stop_here, go_on;
static _Atomic bool slice_over;
static _Atomic uint64_t rounds;
static uint64_t seed, mib = 48, max_busy;
static const char *path;

void die(const char *fmt, ...)
{
	const char *said = hf_errormsg();
	va_list ap;

	fprintf(stderr, "pin_stress: FAILED (seed %llu, round %llu): ", (unsigned long long)seed,
		(unsigned long long)rounds);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", said);
	if (getenv("HF_TEST_CORE"))
		abort();
	_exit(1);
}

int64_t may(struct thread *t, const char *what, int64_t ret)
{
	static const int ok[] = {ENOENT,  EEXIST, ENOSPC, EBUSY, ETIMEDOUT, EDEADLK,
				 ENODATA, EINVAL, E2BIG,  ENXIO, EFBIG,	    EFAULT};

	t->ops++;
	if (ret >= 0)
		return ret;
	t->refused++;
	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++)
		if (ret == -ok[i])
			return ret;
	die("%s gave %s", what, strerror((int)-ret));
}

void must(const char *what, int64_t ret)
{
	if (ret < 0)
		die("%s gave %s", what, strerror((int)-ret));
}

/* ---- stamps */

uint64_t stamp(uint64_t ident, uint64_t block, uint64_t gen, uint64_t index)
{
	uint64_t w = ident << 40 | (block & 0xfff) << 28 | (gen & 0xfff) << 16;

	return w | (rng_mix(w + index) & 0xffff);
}

uint64_t stamp_ident(const struct hf_stat *st)
{
	return (rng_mix(st->id.ino * 0x9e3779b97f4a7c15ull + st->id.gen) & 0xffffff) | 1;
}

bool stamp_fits(uint64_t word, uint64_t ident, uint64_t block, uint64_t index)
{
	if (word == 0)
		return true;
	if (word >> 40 != ident || (block != ANY_BLOCK && (word >> 28 & 0xfff) != block))
		return false;
	return (rng_mix((word & ~0xffffull) + index) & 0xffff) == (word & 0xffff);
}

void stamp_fill(word_t *words, uint64_t bytes, uint64_t off, uint64_t ident, uint64_t gen)
{
	for (uint64_t i = 0; i < bytes / 8; i++) {
		uint64_t at = off / 8 + i;

		word_set(&words[i], stamp(ident, at / WORDS, gen, at % WORDS));
	}
}

void stamp_check(const char *who, const word_t *words, uint64_t bytes, uint64_t off, uint64_t ident,
		 bool shift)
{
	for (uint64_t i = 0; i < bytes / 8; i++) {
		uint64_t at = off / 8 + i, w = word_get(&words[i]);

		if (!stamp_fits(w, ident, shift ? ANY_BLOCK : at / WORDS, at % WORDS))
			die("%s: file %06llx block %llu word %llu shows %016llx", who,
			    (unsigned long long)ident, (unsigned long long)(at / WORDS),
			    (unsigned long long)(at % WORDS), (unsigned long long)w);
	}
}

/* ---- touches */

static __thread sigjmp_buf touch_env;
static __thread volatile sig_atomic_t touch_armed;

static void touch_handler(int sig, siginfo_t *info, void *uc)
{
	(void)info;
	(void)uc;
	if (touch_armed)
		siglongjmp(touch_env, sig);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Before the library's, which chains to it. */
void touch_install(void)
{
	struct sigaction sa = {.sa_sigaction = touch_handler, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

static uint64_t touch_copy(word_t *to, const word_t *from, uint64_t bytes)
{
	static __thread volatile uint64_t done;

	done = 0;
	if (sigsetjmp(touch_env, 1) == 0) {
		touch_armed = 1;
		while (done < bytes / 8) {
			word_set(&to[done], word_get(&from[done]));
			done++;
		}
	}
	touch_armed = 0;
	return done * 8;
}

uint64_t touch_load(const word_t *from, word_t *to, uint64_t bytes)
{
	return touch_copy(to, from, bytes);
}

uint64_t touch_store(word_t *to, const word_t *from, uint64_t bytes)
{
	return touch_copy(to, from, bytes);
}

int touch_signal_of(const void *p)
{
	int sig = sigsetjmp(touch_env, 1);

	if (sig == 0) {
		touch_armed = 1;
		(void)*(volatile const uint8_t *)p;
	}
	touch_armed = 0;
	return sig;
}

/* ---- everybody stopped */

static void finding(void *ctx, const struct hf_finding *f)
{
	(void)ctx;
	fprintf(stderr, "finding: %s: %s\n", f->structure, f->text);
}

static uint64_t count_pins(void)
{
	struct hf_pin_info info[32];
	uint64_t cursor = 0, count = 0;
	size_t n;

	while (cursor != UINT64_MAX) {
		must("hf_pin_list", hf_pin_list(vol, &cursor, info, 32, &n));
		count += n;
	}
	return count;
}

static uint64_t count_busy(bool journal)
{
	struct hf_busy busy[32];
	uint64_t cursor = 0, bytes = 0;
	size_t n;

	while (cursor != UINT64_MAX) {
		must("hf_busy_list", hf_busy_list(vol, &cursor, busy, 32, &n));
		for (size_t i = 0; i < n; i++)
			bytes += busy[i].journal == journal ? busy[i].len : 0;
	}
	return bytes / BLOCK;
}

static void check_sums(void)
{
	struct hf_statfs s;

	must("hf_statfs", hf_statfs(vol, &s));
	if (s.blocks_free + s.blocks_busy_journal + s.blocks_busy_pinned + s.blocks_used !=
	    s.blocks)
		die("free %llu + journal %llu + pinned %llu + used %llu is not %llu",
		    (unsigned long long)s.blocks_free, (unsigned long long)s.blocks_busy_journal,
		    (unsigned long long)s.blocks_busy_pinned, (unsigned long long)s.blocks_used,
		    (unsigned long long)s.blocks);
	if (count_busy(false) != s.blocks_busy_pinned)
		die("the busy list has %llu pinned blocks, statfs %llu",
		    (unsigned long long)count_busy(false),
		    (unsigned long long)s.blocks_busy_pinned);
	if (count_pins() != pins_held)
		die("hf_pin_list has %llu pins, %llu are held", (unsigned long long)count_pins(),
		    (unsigned long long)pins_held);
	max_busy = s.blocks_busy_pinned > max_busy ? s.blocks_busy_pinned : max_busy;
}

static void check_volume(void)
{
	const struct hf_check_options o = {.struct_size = sizeof(o), .finding = finding};
	struct hf_check_result res;
	int err = hf_check_mounted(vol, &o, &res);

	if (err || res.findings || res.orphans)
		die("check: %d, %llu findings, %llu orphans", err, (unsigned long long)res.findings,
		    (unsigned long long)res.orphans);
}

/* Files whose last name is gone stay as orphans while a view or an open file keeps them: not asked
 * for here. */
static void check_round(void)
{
	const struct hf_check_options o = {.struct_size = sizeof(o), .finding = finding};
	struct hf_check_result res;
	int err;

	pins_stand(true);
	check_sums();
	pins_check_all();
	pins_stand(false);
	if (rounds % 8)
		return;
	err = hf_check_mounted(vol, &o, &res);
	if (err || res.findings)
		die("check: %d, %llu findings", err, (unsigned long long)res.findings);
}

/* ---- threads */

static void step(struct thread *t)
{
	uint64_t what = rng_below(&t->rng, 100);

	if (what < 30)
		shared_random(t);
	else if (what < 60)
		pins_random(t);
	else if (what < 75)
		seen_random(t);
	else if (what < 99 || t->no != 0 || !rng_one_in(&t->rng, 3))
		own_random(t);
	else
		pins_fork(t);
}

static void *run(void *arg)
{
	struct thread *t = arg;

	while (!atomic_load(&slice_over)) {
		for (unsigned i = 0; i < ROUND; i++)
			step(t);
		pthread_barrier_wait(&stop_here);
		own_check(t);
		pthread_barrier_wait(&go_on);
	}
	seen_drop(t);
	return NULL;
}

static void mount_it(void)
{
	const struct hf_mount_options o = {.struct_size = sizeof(o),
					   .flags = HF_MOUNT_FORCE_CACHE_LINE};

	if (path)
		must("hf_mount", hf_mount(&vol, path, &o));
	else
		must("hf_mount_memory", hf_mount_memory(&vol, mib << 20, &o));
}

static uint64_t hash_file(const char *name, uint64_t h)
{
	word_t *buf = threads[0].buf;
	struct hf_stat st;
	hf_file *f;
	ssize_t got;
	uint64_t at = 0;

	if (hf_open(vol, name, HF_O_RDONLY, 0, &f) == -ENOENT)
		return rng_mix(h);
	must("hf_fstat", hf_fstat(f, &st));
	do {
		got = hf_pread(f, buf, SHARED_MAX, at);
		must("hf_pread", got);
		for (uint64_t i = 0; i < (uint64_t)got / 8; i++)
			h = rng_mix(h + buf[i]);
		at += (uint64_t)got;
	} while (got > 0);
	if (at != st.size)
		die("%s has %llu bytes, %llu were read", name, (unsigned long long)st.size,
		    (unsigned long long)at);
	must("hf_close", hf_close(&f));
	return rng_mix(h + st.size) ^ stamp_ident(&st);
}

static uint64_t hash_volume(void)
{
	uint64_t h = 0;
	char name[32];

	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "/n%u", i);
		h = hash_file(name, h);
	}
	return h;
}

/* Nothing is held any more: nothing is busy, and a mount finds what was there. */
static void end_slice(void)
{
	struct hf_check_result res;
	struct hf_statfs s;
	uint64_t before;

	pins_drop_all();
	for (unsigned i = 0; i < n_threads; i++)
		own_close(&threads[i]);
	check_sums();
	must("hf_wait_idle_volume", hf_wait_idle_volume(vol, 0));
	must("hf_statfs", hf_statfs(vol, &s));
	if (s.blocks_busy_pinned || pins_held)
		die("%llu blocks are busy without a pin", (unsigned long long)s.blocks_busy_pinned);
	check_volume();
	if (!path)
		return;
	before = hash_volume();
	must("hf_unmount", hf_unmount(&vol));
	must("hf_check", hf_check(path, NULL, &res));
	if (res.findings || res.orphans)
		die("fsck: %llu findings", (unsigned long long)res.findings);
	mount_it();
	if (hash_volume() != before)
		die("after a mount the files are not what they were");
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* The main thread is the one that looks while the others stand. */
static void run_slice(double until)
{
	atomic_store(&slice_over, false);
	for (unsigned i = 0; i < n_threads; i++) {
		own_open(&threads[i]);
		own_check(&threads[i]);
		pthread_create(&threads[i].id, NULL, run, &threads[i]);
	}
	while (!slice_over) {
		alarm(240); /* a round that does not end is a deadlock: SIGALRM */
		pthread_barrier_wait(&stop_here);
		rounds++;
		check_round();
		if (now() >= until)
			atomic_store(&slice_over, true);
		pthread_barrier_wait(&go_on);
	}
	for (unsigned i = 0; i < n_threads; i++)
		pthread_join(threads[i].id, NULL);
	end_slice();
}

static void make_volume(void)
{
	const struct hf_format_options o = {
	    .struct_size = sizeof(o), .bytes = mib << 20, .force = true, .sparse = true};

	if (path)
		must("hf_format", hf_format(path, &o));
	mount_it();
}

static unsigned options(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"seconds", required_argument, NULL, 's'}, {"threads", required_argument, NULL, 't'},
	    {"seed", required_argument, NULL, 'r'},    {"mib", required_argument, NULL, 'm'},
	    {"file", required_argument, NULL, 'f'},    {0},
	};
	unsigned seconds = getenv("HF_TEST_SHORT") || !WITH_FORK ? 8 : 25;
	int c;

	seed = getenv("HF_TEST_SEED") ? strtoull(getenv("HF_TEST_SEED"), NULL, 0)
				      : (uint64_t)time(NULL);
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's')
			seconds = (unsigned)strtoul(optarg, NULL, 0);
		else if (c == 't')
			n_threads = (unsigned)strtoul(optarg, NULL, 0);
		else if (c == 'r')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'm')
			mib = strtoull(optarg, NULL, 0);
		else if (c == 'f')
			path = optarg;
		else
			exit(2);
	}
	if (n_threads == 0 || n_threads > THREADS_MAX)
		exit(2);
	return seconds;
}

static void report(double seconds)
{
	uint64_t ops = 0, refused = 0, checked = 0;

	for (unsigned i = 0; i < n_threads; i++) {
		ops += threads[i].ops;
		refused += threads[i].refused;
		checked += threads[i].checked;
	}
	printf("pin_stress: ok: %.0f s, %llu rounds, %llu operations (%llu refused), %llu looks at "
	       "pins, %llu forks, "
	       "at most %llu blocks busy\n",
	       seconds, (unsigned long long)rounds, (unsigned long long)ops,
	       (unsigned long long)refused, (unsigned long long)checked, (unsigned long long)forks,
	       (unsigned long long)max_busy);
}

int main(int argc, char **argv)
{
	unsigned seconds = options(argc, argv);
	double begin = now();

	printf("pin_stress: %u threads, %u s, %llu MiB, seed %llu\n", n_threads, seconds,
	       (unsigned long long)mib, (unsigned long long)seed);
	fflush(stdout);
	touch_install();
	make_volume();
	pthread_barrier_init(&stop_here, NULL, n_threads + 1);
	pthread_barrier_init(&go_on, NULL, n_threads + 1);
	for (unsigned i = 0; i < n_threads; i++) {
		threads[i].no = i;
		threads[i].rng.s = rng_mix(seed + i);
		threads[i].buf = calloc(1, SHARED_MAX);
		threads[i].own.words = calloc(1, OWN_MAX);
	}
	while (now() < begin + seconds)
		run_slice(now() + 5 < begin + seconds ? now() + 5 : begin + seconds);
	must("hf_unmount", hf_unmount(&vol));
	report(now() - begin);
	for (unsigned i = 0; i < n_threads; i++) {
		free(threads[i].buf);
		free(threads[i].own.words);
	}
	return 0;
}
