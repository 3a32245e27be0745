#include "crash/sched.h"

#include "base/hash.h"
#include "base/lock.h"
#include "journal/journal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	SECOND_NUMBER = 3,
	WAITS_MAX = 20000, /* without an event: nobody can go on */
};

static HF_TLS struct sched *mine; /* of a thread that runs under a schedule */
static HF_TLS int who;

/* Bursts of one to three events, of up to twenty, or of all lengths: by the seed. */
static uint64_t burst(const struct sched *s)
{
	uint64_t h = hash_mix2(s->how.seed, s->turns);

	switch (s->how.seed % 3) {
	case 0:
		return 1 + h % 3;
	case 1:
		return 1 + h % 20;
	default:
		return 1 + (h >> 8) % (2ull << h % 8);
	}
}

/* Mutex held. The other one's turn, if it has not ended. Comes back with our own. */
static void pass(struct sched *s)
{
	int other = 3 - who;

	if (s->done[other])
		return;
	s->turn = other;
	s->turns++;
	if (s->how.seed)
		s->left[other] = burst(s);
	pthread_cond_broadcast(&s->turned);
	while (s->turn != who)
		pthread_cond_wait(&s->turned, &s->mutex);
}

static void event_ends(struct sched *s)
{
	if (s != mine)
		return;
	pthread_mutex_lock(&s->mutex);
	s->events[who]++;
	s->waits = 0;
	if (s->left[who] > 0 && --s->left[who] == 0)
		pass(s);
	pthread_mutex_unlock(&s->mutex);
}

/* lock_turn_fn: this thread cannot go on. */
static bool wait_for_other(void)
{
	struct sched *s = mine;

	if (!s)
		return false;
	pthread_mutex_lock(&s->mutex);
	if (s->waits++ == WAITS_MAX) {
		fprintf(stderr, "crash: %s: deadlock: thread %d waits, and the other one %s\n",
			s->how.name ? s->how.name : "two threads", who,
			s->done[3 - who] ? "has ended" : "does so too");
		abort();
	}
	pass(s);
	pthread_mutex_unlock(&s->mutex);
	return true;
}

static void on_store(void *ctx, moff_t off, uint64_t len, bool nt)
{
	struct sched *s = ctx;

	s->under->store(s->under->ctx, off, len, nt);
	event_ends(s);
}

static int on_flush(void *ctx, moff_t off, uint64_t len)
{
	struct sched *s = ctx;
	int err = s->under->flush(s->under->ctx, off, len);

	event_ends(s);
	return err;
}

static int on_fence(void *ctx)
{
	struct sched *s = ctx;
	int err = s->under->fence(s->under->ctx);

	event_ends(s);
	return err;
}

static void begin(struct sched *s, int me)
{
	mine = s;
	who = me;
	pthread_mutex_lock(&s->mutex);
	while (s->turn != who)
		pthread_cond_wait(&s->turned, &s->mutex);
	pthread_mutex_unlock(&s->mutex);
}

static void finish(struct sched *s)
{
	pthread_mutex_lock(&s->mutex);
	s->done[who] = true;
	s->turn = 3 - who;
	if (s->how.seed)
		s->left[s->turn] = 0;
	pthread_cond_broadcast(&s->turned);
	pthread_mutex_unlock(&s->mutex);
	mine = NULL;
}

static void *second_main(void *arg)
{
	struct sched *s = arg;

	journal_thread_number(s->how.number ? s->how.number : SECOND_NUMBER);
	begin(s, 2);
	s->fn(s->ctx);
	finish(s);
	return NULL;
}

void sched_run(struct sched *s, struct pm *pm, void (*first)(void *), void (*second)(void *),
	       void *ctx, const struct schedule *how)
{
	*s = (struct sched){
	    .how = *how, .pm = pm, .under = pm->hook, .turn = 1, .fn = second, .ctx = ctx};
	s->left[1] = how->seed ? burst(s) : how->k;
	s->left[2] = how->m;
	s->hook =
	    (struct pm_hook){.ctx = s, .store = on_store, .flush = on_flush, .fence = on_fence};
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->turned, NULL);
	if (pthread_create(&s->second, NULL, second_main, s) != 0)
		HF_ASSERT(false); /* a second thread */
	pm->hook = &s->hook;
	lock_set_turns(wait_for_other);
	begin(s, 1);
	first(ctx);
	finish(s);
	pthread_join(s->second, NULL);
	lock_set_turns(NULL);
	pm->hook = s->under;
	pthread_cond_destroy(&s->turned);
	pthread_mutex_destroy(&s->mutex);
}
