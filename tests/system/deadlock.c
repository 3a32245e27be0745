/* The known deadlock of truncate against page references: a holder of page A asks for page B of the
 * same file (a pin, a write, a touch through a view) while a punch waits for A. Where the punch
 * waits under a lock that B needs, nobody ever moves again. Here nobody may hang: whatever the
 * order, the holder gets B, lets go of A, and only then the punch returns.
 *
 *	deadlock [--rounds N]        of each layout; default 10000, with HF_TEST_SHORT 500
 *
 * The layouts, what A and B are parts of:
 *	blocks		two blocks of one split frame; the touched page has to collapse first
 *	frames		A is a huge leaf; B is in another one
 *	one frame	both are in the same huge leaf: the punch splits it under its pin
 */
#include <holdfast.h>

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK	  4096u
#define FRAME	  (2u << 20)
#define PUNCH	  (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define HANG_S	  120u /* for WATCH rounds, on a loaded machine under a sanitizer */
#define WATCH	  100u
#define IOV_MAX_N (FRAME / BLOCK)

struct layout {
	const char *name;
	uint64_t a, a_len; /* punched while it is pinned */
	uint64_t b;	   /* one block, wanted meanwhile */
	uint64_t touch;	   /* start of a frame: touched through a view */
	bool huge;	   /* A is in a huge leaf */
	bool last;	   /* A is the end of the file: it can be truncated away, too */
	bool scatter;	   /* the touched frame is made of blocks each round */
};

static const struct layout layouts[] = {
    {"blocks", FRAME + 5 * BLOCK, BLOCK, FRAME + 3 * BLOCK, 0, false, true, true},
    {"frames", FRAME, FRAME, 7 * BLOCK, 0, true, false, false},
    {"one frame", FRAME / 2, 16 * BLOCK, BLOCK, FRAME, true, false, false},
};

static struct {
	const struct layout *lay;
	hf_volume *vol;
	hf_file *file;
	unsigned rounds, round;
	pthread_barrier_t step;
	atomic_bool let_go; /* the holder has got B and is about to unpin A */
	unsigned slept;	    /* rounds in which the punch waited for A before B was asked for */
} t;

static _Noreturn void fail(const char *what, int64_t ret)
{
	fprintf(stderr, "deadlock: %s, round %u: %s: %lld (%s)\n", t.lay ? t.lay->name : "",
		t.round, what, (long long)ret, hf_errormsg());
	exit(1);
}

static void must(int64_t ret, const char *what)
{
	if (ret < 0)
		fail(what, ret);
}

static void hang(int sig)
{
	static const char msg[] = "deadlock: a hang: no progress for two minutes\n";

	(void)sig;
	if (write(STDERR_FILENO, msg, sizeof(msg) - 1) < 0)
		_exit(2);
	_exit(1);
}

/* ---- the one that waits for A */

static void *puncher(void *arg)
{
	const struct hf_how wait = {
	    .struct_size = sizeof(wait), .pinned = HF_PINNED_WAIT, .timeout_ns = UINT64_MAX};

	(void)arg;
	for (unsigned i = 0; i < t.rounds; i++) {
		pthread_barrier_wait(&t.step); /* A is pinned */
		if (t.lay->last && (i & 8))
			must(hf_ftruncate_how(t.file, t.lay->a, &wait), "truncate");
		else
			must(hf_fallocate_how(t.file, PUNCH, t.lay->a, t.lay->a_len, &wait),
			     "punch");
		if (!atomic_load(&t.let_go))
			fail("it did not wait for the pin", 0);
		pthread_barrier_wait(&t.step);
	}
	return NULL;
}

/* ---- the one that holds A and wants B */

static uint64_t busy_blocks(void)
{
	struct hf_statfs st;

	must(hf_statfs(t.vol, &st), "statfs");
	return st.blocks_busy_pinned;
}

static hf_pin_id pin(uint64_t off, uint64_t len)
{
	struct hf_pin_options how = {
	    .struct_size = sizeof(how), .flags = HF_PIN_WRITE | HF_PIN_ALLOC, .tag = "deadlock"};
	static struct iovec iov[IOV_MAX_N];
	size_t iovcnt = IOV_MAX_N;
	hf_pin_id id;

	must(hf_pin(t.file, off, len, &how, iov, &iovcnt, &id), "pin");
	memset(iov[0].iov_base, 'p', 64);
	return id;
}

static void touch(char *page, unsigned i)
{
	volatile char *p = page + (i * BLOCK) % FRAME;
	char seen = *p;

	if (i & 1)
		*p = (char)(seen + 1);
}

static void ask_for_b(unsigned i, char *page)
{
	char block[BLOCK];
	hf_pin_id b;

	switch (i >> 1 & 3) {
	case 0:
		b = pin(t.lay->b, BLOCK);
		must(hf_unpin(t.vol, b), "unpin B");
		break;
	case 1:
		touch(page, i);
		break;
	case 2:
		touch(page, i);
		b = pin(t.lay->b, BLOCK);
		touch(page, i + 1);
		must(hf_unpin(t.vol, b), "unpin B");
		break;
	default:
		memset(block, 'w', sizeof(block));
		must(hf_pwrite(t.file, block, sizeof(block), t.lay->b), "write B");
		must(hf_pread(t.file, block, sizeof(block), t.lay->b), "read B");
	}
}

/* Every other round the punch is certainly asleep when B is asked for; in the others they race. */
static void holder_round(unsigned i)
{
	struct hf_view_options opts = {.struct_size = sizeof(opts), .prot = HF_VIEW_WRITE};
	hf_pin_id a = pin(t.lay->a, t.lay->a_len);
	hf_view *view;
	void *page;

	must(hf_view_map(t.file, t.lay->touch, FRAME, &opts, &page, &view), "view");
	atomic_store(&t.let_go, false);
	pthread_barrier_wait(&t.step);
	if (i & 1) {
		while (busy_blocks() == 0)
			sched_yield();
		t.slept++;
	}
	ask_for_b(i, page);
	atomic_store(&t.let_go, true);
	must(hf_unpin(t.vol, a), "unpin A");
	pthread_barrier_wait(&t.step);
	must(hf_view_unmap(&view), "view unmap");
	if (busy_blocks() != 0)
		fail("blocks are busy and nothing is pinned", (int64_t)busy_blocks());
}

/* ---- the file of each layout */

static void scatter(uint64_t frame)
{
	static const char one[BLOCK];

	must(hf_fallocate(t.file, PUNCH, frame + 16 * BLOCK, BLOCK), "punch a block");
	must(hf_pwrite(t.file, one, BLOCK, frame + 16 * BLOCK), "write a block");
}

/* A is there again, in a leaf of the layout's kind. */
static void refill(void)
{
	const struct layout *l = t.lay;
	uint64_t frame = l->a / FRAME * FRAME;
	struct hf_extent e;
	size_t n = 0;

	if (l->huge) {
		must(hf_fallocate(t.file, PUNCH, frame, FRAME), "empty the frame");
		must(hf_fallocate(t.file, 0, frame, FRAME), "a frame");
	} else {
		must(hf_fallocate(t.file, 0, l->a, l->a_len), "blocks");
	}
	if (l->scatter)
		scatter(l->touch);
	must(hf_extents(t.file, l->a, &e, 1, &n), "extents");
	if (n != 1 || e.off > l->a || e.huge != l->huge)
		fail("A is not in a leaf of the kind that is to be tested", e.huge);
}

static void layout_run(const struct layout *l)
{
	pthread_t other;

	t.lay = l;
	t.slept = 0;
	must(hf_open(t.vol, "/file", HF_O_RDWR | HF_O_CREAT | HF_O_TRUNC, 0600, &t.file), "open");
	must(hf_fallocate(t.file, 0, 0, FRAME), "first frame");
	must(hf_fallocate(t.file, 0, FRAME, l->last ? 6 * BLOCK : FRAME), "second frame");
	must(-pthread_create(&other, NULL, puncher, NULL), "thread");
	for (t.round = 0; t.round < t.rounds; t.round++) {
		if (t.round % WATCH == 0)
			alarm(HANG_S);
		refill();
		holder_round(t.round);
	}
	pthread_join(other, NULL);
	must(hf_close(&t.file), "close");
	printf("deadlock: %s: %u rounds, in %u of them the punch slept first\n", l->name, t.rounds,
	       t.slept);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	t.rounds = getenv("HF_TEST_SHORT") ? 500 : 10000;
	if (argc == 3 && strcmp(argv[1], "--rounds") == 0)
		t.rounds = (unsigned)strtoul(argv[2], NULL, 0);
	signal(SIGALRM, hang);
	pthread_barrier_init(&t.step, NULL, 2);
	must(hf_mount_memory(&t.vol, 64u << 20, NULL), "mount");
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		layout_run(&layouts[i]);
	must(hf_unmount(&t.vol), "unmount");
	return 0;
}
