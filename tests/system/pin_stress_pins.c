/* Pins on shared files. They lie on a table from which any thread takes one, looks at it, stores
 * through it, makes it its own, and puts it back or unpins it; so does the callback of a lease. Who
 * has a pin in his hands is alone with it. */
#include "pin_stress.h"

#include <sys/wait.h>
#include <unistd.h>

#define TABLE 48u

static struct pinned *_Atomic table[TABLE];
/* Callbacks of leases run on a thread that does not stop with the others. */
static _Atomic bool standing;
static _Atomic unsigned in_callback;

/* NULL: there is none on the range. */
struct pinned *pins_make(struct thread *t, hf_file *f, uint64_t off, uint64_t len, unsigned flags)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = flags, .tag = "stress"};
	struct pinned *p = calloc(1, sizeof(*p));

	p->off = off;
	p->len = len;
	p->n = IOVS;
	p->write = flags & HF_PIN_WRITE;
	if (may(t, "hf_pin", hf_pin(f, off, len, &o, p->iov, &p->n, &p->id))) {
		free(p);
		return NULL;
	}
	atomic_fetch_add(&pins_held, 1);
	return p;
}

void pins_check(const struct pinned *p)
{
	uint64_t at = p->off;

	for (size_t i = 0; i < p->n; at += p->iov[i].iov_len, i++)
		stamp_check("a pin", p->iov[i].iov_base, p->iov[i].iov_len, at, p->ident, p->shift);
	if (at != p->off + p->len)
		die("a pin of %llu bytes has %llu", (unsigned long long)p->len,
		    (unsigned long long)(at - p->off));
}

void pins_store(struct thread *t, struct pinned *p)
{
	uint64_t at = p->off, gen = rng_next(&t->rng);

	for (size_t i = 0; i < p->n; at += p->iov[i].iov_len, i++)
		stamp_fill(p->iov[i].iov_base, p->iov[i].iov_len, at, p->ident, gen);
	must("hf_pin_persist", hf_pin_persist(vol, p->id, rng_below(&t->rng, p->len), 1));
}

void pins_drop(struct pinned *p)
{
	hf_pin_id id = p->id;

	pins_check(p);
	must("hf_unpin", hf_unpin(vol, id));
	atomic_fetch_sub(&pins_held, 1);
	free(p);
}

static struct pinned *pick(uint64_t i)
{
	return atomic_exchange(&table[i % TABLE], NULL);
}

static void put(struct thread *t, struct pinned *p)
{
	p = atomic_exchange(&table[rng_below(&t->rng, TABLE)], p);
	if (p)
		pins_drop(p);
}

static void give_up(hf_pin_id id)
{
	for (unsigned i = 0; i < TABLE; i++) {
		struct pinned *p = pick(i), *none = NULL;

		if (!p)
			continue;
		if (p->id == id) {
			pins_drop(p);
			return;
		}
		if (!atomic_compare_exchange_strong(&table[i], &none, p))
			pins_drop(p);
	}
}

/* Somebody wants the range: gives it up if the pin lies on the table now. */
static void wanted(void *ctx, hf_volume *v, const struct hf_lease_event *event)
{
	(void)ctx;
	(void)v;
	atomic_fetch_add(&in_callback, 1);
	if (!atomic_load(&standing))
		give_up(event->pin);
	atomic_fetch_sub(&in_callback, 1);
}

void pins_stand(bool still)
{
	atomic_store(&standing, still);
	while (still && atomic_load(&in_callback))
		usleep(50);
}

static void lease(struct thread *t, struct pinned *p)
{
	const struct hf_lease_options o = {
	    .struct_size = sizeof(o), .fn = wanted, .deadline_ns = rng_below(&t->rng, 2000000)};

	if (p->leased)
		return;
	p->leased = true;
	must("hf_lease", hf_lease(vol, p->id, &o));
}

static void take_new(struct thread *t)
{
	unsigned flags = (unsigned)rng_below(&t->rng, 4);
	struct shared s;
	struct pinned *p;
	uint64_t blocks, off, len;

	if (!shared_open(t, &s, HF_O_RDWR))
		return;
	blocks = s.size / BLOCK;
	off = rng_below(&t->rng, blocks + 1);
	len = 1 + rng_below(&t->rng, rng_one_in(&t->rng, 4) ? 600 : 12);
	p = pins_make(t, s.f, off * BLOCK, len * BLOCK, flags);
	if (p) {
		p->ident = s.ident;
		p->shift = s.shift;
		pins_check(p);
		put(t, p);
	}
	shared_close(&s);
}

static void use(struct thread *t)
{
	struct pinned *p = pick(rng_next(&t->rng));

	if (!p)
		return;
	pins_check(p);
	t->checked++;
	t->ops++;
	switch (rng_below(&t->rng, 8)) {
	case 0 ... 1:
		if (p->write)
			pins_store(t, p);
		break;
	case 2:
		must("hf_pin_take", hf_pin_take(vol, p->id));
		break;
	case 3:
		lease(t, p);
		break;
	case 4 ... 5:
		pins_drop(p);
		return;
	default:
		break;
	}
	put(t, p);
}

void pins_random(struct thread *t)
{
	if (rng_one_in(&t->rng, 2))
		take_new(t);
	else
		use(t);
}

void pins_check_all(void)
{
	for (unsigned i = 0; i < TABLE; i++) {
		struct pinned *p = pick(i);

		if (!p)
			continue;
		pins_check(p);
		p = atomic_exchange(&table[i], p);
		if (p)
			pins_drop(p);
	}
}

void pins_drop_all(void)
{
	for (unsigned i = 0; i < TABLE; i++) {
		struct pinned *p = pick(i);

		if (p)
			pins_drop(p);
	}
}

/* ---- children: what they call says -ESTALE, what they touch is not there, and the parent goes on.
 */

enum {
	CHILD_PREAD = 1,
	CHILD_UNPIN = 2,
	CHILD_PIN_TOUCH = 4,
	CHILD_VIEW_TOUCH = 8,
	CHILD_TRUNCATE = 16
};

static int child(const struct thread *t, const struct pinned *p)
{
	uint64_t word;
	int bad = 0;

	if (hf_pread(t->own.f, &word, 8, 0) != -ESTALE)
		bad |= CHILD_PREAD;
	if (hf_ftruncate(t->own.f, 0) != -ESTALE)
		bad |= CHILD_TRUNCATE;
	if (p && hf_unpin(vol, p->id) != -ESTALE)
		bad |= CHILD_UNPIN;
	if (p && touch_signal_of(p->iov[0].iov_base) != SIGSEGV)
		bad |= CHILD_PIN_TOUCH;
	if (t->own.view && touch_signal_of(t->own.at) != SIGSEGV)
		bad |= CHILD_VIEW_TOUCH;
	return bad;
}

void pins_fork(struct thread *t)
{
	struct pinned *p;
	int status;
	pid_t pid;

	if (!WITH_FORK)
		return;
	p = pick(rng_next(&t->rng));
	pid = fork();
	must("fork", pid);
	if (pid == 0)
		_exit(child(t, p));
	atomic_fetch_add(&forks, 1);
	t->ops++;
	if (p)
		put(t, p);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("a child of fork ended with %#x", (unsigned)status);
}
