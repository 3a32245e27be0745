/* Leases: pins whose holder is told when an operation wants its range. The operations only count up
 * and go on; a thread of the volume calls the holders, one after the other, with no lock held
 * (I-PIN-9). */
#include "pin/pins.h"
#include "base/error.h"
#include "holdfast.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct lease {
	uint64_t id;
	struct pin_lease how;
	bool ended;
};

/* One operation that one holder is told of. Its memory is there before the operation commits. */
struct lease_call {
	struct lease_call *next;
	struct lease *lease;
	struct hf_lease_event event;
};

/* The thread frees it when it was told to stop by one of its own callbacks. */
struct notifier {
	struct mtx lock; /* over all leases of the volume */
	struct waitq work, done;
	struct lease_call *first, *last;
	struct lease *running;
	uint64_t runs; /* callbacks so far */
	bool stop, on_its_own;
	pthread_t thread;
};

static HF_TLS struct notifier *notifier_tls; /* the one that this thread is */

bool pin_on_notifier(void)
{
	return notifier_tls != NULL;
}

/* ---- the queue; the lock is held */

static void notifier_push_locked(struct notifier *n, struct lease_call *c)
{
	c->next = NULL;
	if (n->first)
		n->last->next = c;
	else
		n->first = c;
	n->last = c;
}

static struct lease_call *notifier_pop_locked(struct notifier *n)
{
	struct lease_call *c = n->first;

	if (c)
		n->first = c->next;
	return c;
}

/* What this lease was still to be told. */
static void notifier_unlink_locked(struct notifier *n, const struct lease *l)
{
	struct lease_call **at = &n->first, *c = n->first;

	n->last = NULL;
	for (; c; c = *at) {
		if (c->lease == l) {
			*at = c->next;
			free(c);
		} else {
			n->last = c;
			at = &c->next;
		}
	}
}

/* ---- the thread */

static void notifier_call(struct notifier *n, struct lease_call *c)
{
	struct lease *l = c->lease;
	struct pin_lease how = l->how;

	n->running = l;
	n->runs++;
	mtx_unlock(&n->lock);
	how.fn(how.ctx, how.vol, &c->event);
	free(c);
	mtx_lock(&n->lock);
	n->running = NULL;
	if (l->ended)
		free(l);
	waitq_wake_all(&n->done);
}

static void *notifier_run(void *arg)
{
	struct notifier *n = arg;
	bool on_its_own;

	notifier_tls = n;
	mtx_lock(&n->lock);
	while (!n->stop) {
		uint32_t key = waitq_key(&n->work);
		struct lease_call *c = notifier_pop_locked(n);

		if (c) {
			notifier_call(n, c);
			continue;
		}
		mtx_unlock(&n->lock);
		waitq_wait(&n->work, key, UINT64_MAX);
		mtx_lock(&n->lock);
	}
	on_its_own = n->on_its_own;
	mtx_unlock(&n->lock);
	if (on_its_own)
		free(n);
	return NULL;
}

/* The program's handlers do not run on a thread that it does not know; what is raised by an access
 * of the callback itself has to. */
static int notifier_thread(struct notifier *n)
{
	sigset_t mask, before;
	int err;

	sigfillset(&mask);
	sigdelset(&mask, SIGSEGV);
	sigdelset(&mask, SIGBUS);
	sigdelset(&mask, SIGFPE);
	sigdelset(&mask, SIGILL);
	pthread_sigmask(SIG_SETMASK, &mask, &before);
	err = pthread_create(&n->thread, NULL, notifier_run, n);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err ? err_set(-err, "lease: no thread to call the holders: %s", strerror(err)) : 0;
}

static int notifier_get_locked(struct pins *p, struct notifier **out)
{
	struct notifier *n = atomic_load(&p->notifier);
	int err;

	*out = n;
	if (n)
		return 0;
	n = calloc(1, sizeof(*n));
	if (!n)
		return err_set(-ENOMEM, "lease: out of memory");
	mtx_init(&n->lock, RANK_LEAF, 0);
	err = notifier_thread(n);
	if (err) {
		free(n);
		return err;
	}
	atomic_store(&p->notifier, n);
	*out = n;
	return 0;
}

/* No lease is left. */
void pins_notifier_stop(struct pins *p)
{
	struct notifier *n = atomic_load(&p->notifier);
	bool mine = n && notifier_tls == n;

	if (!n)
		return;
	atomic_store(&p->notifier, NULL);
	mtx_lock(&n->lock);
	n->stop = true;
	n->on_its_own = mine;
	waitq_wake_all(&n->work);
	mtx_unlock(&n->lock);
	if (mine) {
		pthread_detach(n->thread);
		return;
	}
	pthread_join(n->thread, NULL);
	free(n);
}

/* ---- leases */

static int lease_attach(struct pins *p, struct notifier *n, struct lease *l)
{
	struct pins_priv *v = &p->priv[pins_index(l->id)];
	_Atomic uint32_t *flags = pins_u32(p, pins_index(l->id), offsetof(struct pins_rec, flags));
	struct lease *none = NULL;
	int err = 0;

	mtx_lock(&n->lock);
	if (!atomic_compare_exchange_strong(&v->lease, &none, l)) {
		err = err_set(-EALREADY, "the pin is a lease already");
	} else if (pins_state(p, pins_index(l->id)) != pins_state_for(l->id, PINS_LIVE)) {
		/* Whoever drops it looks for a lease after it has changed the state, and this
		 * looks at the state after it has set the lease: one sees the other. */
		atomic_store(&v->lease, NULL);
		err = err_set(-EINVAL, "there is no such pin, or it is unpinned already");
	} else {
		atomic_fetch_or(flags, PINS_LEASED);
		atomic_fetch_add(&v->in->leases, 1);
	}
	mtx_unlock(&n->lock);
	return err;
}

int pins_lease_new(struct pins *p, const struct pin_lease *how, struct lease **out)
{
	struct notifier *n;
	int err;

	mtx_lock(&p->lease_lock);
	err = notifier_get_locked(p, &n);
	mtx_unlock(&p->lease_lock);
	if (err)
		return err;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return err_set(-ENOMEM, "lease: out of memory");
	(*out)->how = *how;
	return 0;
}

/* Nobody knows the record yet: the layout lock keeps those out who would look for leases. */
void pins_lease_first(struct pins *p, struct inode *in, uint64_t id, struct lease *l)
{
	l->id = id;
	atomic_store(&p->priv[pins_index(id)].lease, l);
	atomic_fetch_add(&in->leases, 1);
}

int pin_lease(struct fs *fs, uint64_t id, const struct pin_lease *how)
{
	struct pins *p = fs->pins;
	struct lease *l;
	int err;

	if (!pins_id_ok(p, id) || pins_state(p, pins_index(id)) != pins_state_for(id, PINS_LIVE))
		return err_set(-EINVAL, "there is no such pin, or it is unpinned already");
	err = pins_lease_new(p, how, &l);
	if (err)
		return err;
	l->id = id;
	err = lease_attach(p, atomic_load(&p->notifier), l);
	if (err)
		free(l);
	return err;
}

void pins_lease_end(struct pins *p, uint32_t index)
{
	struct pins_priv *v = &p->priv[index];
	struct lease *l = atomic_load(&v->lease);
	struct notifier *n;
	uint64_t run;
	bool runs;

	if (!l)
		return;
	n = atomic_load(&p->notifier); /* after the lease: it is older */
	mtx_lock(&n->lock);
	l = atomic_exchange(&v->lease, NULL);
	if (!l) {
		mtx_unlock(&n->lock);
		return;
	}
	atomic_fetch_sub(&v->in->leases, 1);
	notifier_unlink_locked(n, l);
	l->ended = true;
	runs = n->running == l;
	run = n->runs;
	while (runs && n->running && n->runs == run && notifier_tls != n) {
		uint32_t key = waitq_key(&n->done);

		mtx_unlock(&n->lock);
		waitq_wait(&n->done, key, UINT64_MAX);
		mtx_lock(&n->lock);
	}
	mtx_unlock(&n->lock);
	if (!runs)
		free(l);
}

/* ---- telling */

int pins_notice_calls(struct pin_notice *what)
{
	for (size_t i = 0; i < what->n; i++) {
		struct lease_call *c = malloc(sizeof(*c));

		if (!c)
			return err_set(-ENOMEM, "lease: out of memory");
		c->next = what->calls;
		what->calls = c;
	}
	return 0;
}

static void notify_one_locked(struct pins *p, struct notifier *n, uint64_t id,
			      struct pin_notice *what, const struct hf_lease_event *event)
{
	struct lease *l = atomic_load(&p->priv[pins_index(id)].lease);
	struct lease_call *c = what->calls;

	if (!c || !l || l->id != id)
		return;
	what->calls = c->next;
	c->lease = l;
	c->event = *event;
	c->event.pin = id;
	notifier_push_locked(n, c);
}

void pin_notify(struct fs *fs, struct pin_notice *what, const struct hf_lease_event *event)
{
	struct notifier *n = what->n ? atomic_load(&fs->pins->notifier) : NULL;

	if (!n)
		return;
	mtx_lock(&n->lock);
	for (size_t i = 0; i < what->n; i++)
		notify_one_locked(fs->pins, n, what->ids[i], what, event);
	waitq_wake_all(&n->work);
	mtx_unlock(&n->lock);
}

struct notice_wait {
	struct pins *p;
	uint64_t id;
};

static bool notice_gone(void *ctx)
{
	const struct notice_wait *w = ctx;
	uint64_t state = pins_state(w->p, pins_index(w->id));

	return pins_id(state, pins_index(w->id)) != w->id || pins_state_of(state) == PINS_FREE;
}

void pin_notice_wait(struct fs *fs, const struct pin_notice *what)
{
	uint64_t deadline = clock_deadline_ns(what->deadline_ns);
	struct notice_wait w = {.p = fs->pins};
	int err = 0;

	/* The callbacks that are waited for would run on this thread. */
	if (pin_on_notifier())
		return;
	for (size_t i = 0; i < what->n && !err; i++) {
		w.id = what->ids[i];
		err = pins_sleep(w.p, pins_queue(w.p, pins_index(w.id)), notice_gone, &w, deadline);
	}
}

void pin_notice_drop(struct pin_notice *what)
{
	while (what->calls) {
		struct lease_call *c = what->calls;

		what->calls = c->next;
		free(c);
	}
	free(what->ids);
	*what = (struct pin_notice){0};
}

/* The longest deadline of the leases of these pins. */
uint64_t pins_lease_deadline(struct pins *p, const uint64_t *ids, size_t n)
{
	struct notifier *no = atomic_load(&p->notifier);
	uint64_t longest = 0;

	if (!no)
		return 0;
	mtx_lock(&no->lock);
	for (size_t i = 0; i < n; i++) {
		struct lease *l = atomic_load(&p->priv[pins_index(ids[i])].lease);

		if (l && l->id == ids[i])
			longest = max_u64(longest, l->how.deadline_ns);
	}
	mtx_unlock(&no->lock);
	return longest;
}
