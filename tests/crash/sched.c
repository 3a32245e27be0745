#include "sched.h"

#include "journal/journal.h"

#include <time.h>

enum {
	SECOND_NUMBER = 3, /* the explorer's own threads are 1 and 2 */
	STUCK_NS = 50000000,
};

static int me(struct sched *s)
{
	return pthread_equal(pthread_self(), s->second) ? 2 : 1;
}

/* Mutex held. */
static void give_turn(struct sched *s, int to)
{
	s->turn = to;
	pthread_cond_broadcast(&s->turned);
}

/* Mutex held. Nothing heard of the other for a while: it waits for one of our locks. */
static void take_turn(struct sched *s, int who)
{
	uint64_t seen = s->events[3 - who];
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += STUCK_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (s->turn != who && !s->done[3 - who] && !err)
		err = pthread_cond_timedwait(&s->turned, &s->mutex, &until);
	if (err && s->turn != who && !s->inside[3 - who] && s->events[3 - who] == seen)
		s->turn = who;
}

static void await_turn(struct sched *s, int who)
{
	s->parked[who] = true;
	pthread_cond_broadcast(&s->turned);
	while (s->turn != who && !s->done[3 - who])
		take_turn(s, who);
	s->parked[who] = false;
}

static void event_begins(struct sched *s)
{
	pthread_mutex_lock(&s->mutex);
	s->inside[me(s)] = true;
	pthread_mutex_unlock(&s->mutex);
}

static void event_ends(struct sched *s)
{
	int who = me(s);

	pthread_mutex_lock(&s->mutex);
	s->inside[who] = false;
	s->events[who]++;
	if (s->turn == who && s->left[who] > 0 && --s->left[who] == 0 && !s->done[3 - who])
		give_turn(s, 3 - who);
	if (s->turn != who && !s->done[3 - who])
		await_turn(s, who);
	pthread_mutex_unlock(&s->mutex);
}

/* The other may have got its lock a moment ago, and be on its way to its next event. */
static void await_parked(struct sched *s, int who)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	while (!s->parked[who] && !s->done[who])
		if (pthread_cond_timedwait(&s->turned, &s->mutex, &until) != 0)
			return;
}

void sched_inside(struct sched *s, bool on)
{
	int who = me(s);

	pthread_mutex_lock(&s->mutex);
	if (on)
		await_parked(s, 3 - who);
	s->inside[who] = on;
	pthread_mutex_unlock(&s->mutex);
}

static void on_store(void *ctx, moff_t off, uint64_t len, bool nt)
{
	struct sched *s = ctx;

	event_begins(s);
	s->under->store(s->under->ctx, off, len, nt);
	event_ends(s);
}

static int on_flush(void *ctx, moff_t off, uint64_t len)
{
	struct sched *s = ctx;
	int err;

	event_begins(s);
	err = s->under->flush(s->under->ctx, off, len);
	event_ends(s);
	return err;
}

static int on_fence(void *ctx)
{
	struct sched *s = ctx;
	int err;

	event_begins(s);
	err = s->under->fence(s->under->ctx);
	event_ends(s);
	return err;
}

static void finished(struct sched *s, int who)
{
	pthread_mutex_lock(&s->mutex);
	s->done[who] = true;
	give_turn(s, 3 - who);
	pthread_mutex_unlock(&s->mutex);
}

static void *second_main(void *arg)
{
	struct sched *s = arg;

	journal_thread_number(SECOND_NUMBER);
	pthread_mutex_lock(&s->mutex);
	await_turn(s, 2);
	pthread_mutex_unlock(&s->mutex);
	s->fn(s->ctx);
	finished(s, 2);
	return NULL;
}

void sched_run(struct sched *s, struct pm *pm, void (*first)(void *), void (*second)(void *),
	       void *ctx, uint64_t k, uint64_t m)
{
	*s = (struct sched){.pm = pm, .under = pm->hook, .turn = 1, .fn = second, .ctx = ctx};
	s->parked[2] = true;
	s->left[1] = k;
	s->left[2] = m;
	s->hook = (struct pm_hook){.ctx = s, .store = on_store, .flush = on_flush, .fence = on_fence};
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->turned, NULL);
	if (pthread_create(&s->second, NULL, second_main, s) != 0)
		HF_ASSERT(false); /* a second thread */
	pm->hook = &s->hook;
	first(ctx);
	finished(s, 1);
	pthread_join(s->second, NULL);
	pm->hook = s->under;
	pthread_cond_destroy(&s->turned);
	pthread_mutex_destroy(&s->mutex);
}
