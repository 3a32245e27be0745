#include "base/error.h"
#include "base/lock.h"
#include "cunit_main.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS	20000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void run_threads(unsigned int n, void *(*fn)(void *), void *arg)
{
	pthread_t t[16];

	for (unsigned int i = 0; i < n; i++)
		pthread_create(&t[i], NULL, fn, arg);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

/* ---- mutex */

struct counted {
	struct mtx m;
	struct rwl l;
	uint64_t a, b; /* plain: the lock's business */
	_Atomic int readers_inside, readers_max, torn;
};

static void *count_under_mtx(void *arg)
{
	struct counted *c = arg;

	for (int i = 0; i < ROUNDS; i++) {
		if (i % 8 == 0) {
			while (!mtx_trylock(&c->m))
				;
		} else {
			mtx_lock(&c->m);
		}
		c->a++;
		if (i % 1024 == 0)
			usleep(50); /* make the others sleep */
		c->b++;
		mtx_unlock(&c->m);
	}
	return NULL;
}

static void test_mtx_excludes(void)
{
	struct counted c = {.a = 0};

	mtx_init(&c.m, RANK_LEAF, 0);
	run_threads(THREADS, count_under_mtx, &c);
	CU_ASSERT_EQUAL(c.a, (uint64_t)THREADS * ROUNDS);
	CU_ASSERT_EQUAL(c.b, (uint64_t)THREADS * ROUNDS);
	CU_ASSERT_EQUAL(atomic_load(&c.m.word), MTX_FREE);
}

static void test_mtx_trylock(void)
{
	struct mtx m;

	mtx_init(&m, RANK_LEAF, 0);
	CU_ASSERT_TRUE(mtx_trylock(&m));
	CU_ASSERT_FALSE(mtx_trylock(&m));
	mtx_unlock(&m);
	CU_ASSERT_TRUE(mtx_trylock(&m));
	mtx_unlock(&m);
}

/* ---- reader/writer lock */

static void *write_pairs(void *arg)
{
	struct counted *c = arg;

	for (int i = 0; i < ROUNDS; i++) {
		if (i % 8 == 0) {
			while (!rwl_trywrlock(&c->l))
				;
		} else {
			rwl_wrlock(&c->l);
		}
		c->a++;
		if (i % 1024 == 0)
			usleep(50);
		c->b++;
		rwl_wrunlock(&c->l);
	}
	return NULL;
}

static void *read_pairs(void *arg)
{
	struct counted *c = arg;

	for (int i = 0; i < ROUNDS; i++) {
		if (i % 8 == 0) {
			while (!rwl_tryrdlock(&c->l))
				;
		} else {
			rwl_rdlock(&c->l);
		}
		if (c->a != c->b)
			atomic_fetch_add(&c->torn, 1);
		if (i % 1024 == 0)
			usleep(20);
		rwl_rdunlock(&c->l);
	}
	return NULL;
}

static _Atomic unsigned int next_role;

static void *read_or_write_pairs(void *arg)
{
	return atomic_fetch_add(&next_role, 1) % 2 ? write_pairs(arg) : read_pairs(arg);
}

static void test_rwl_excludes(void)
{
	struct counted c = {.a = 0};

	rwl_init(&c.l, RANK_LEAF, 0);
	run_threads(THREADS, write_pairs, &c);
	CU_ASSERT_EQUAL(c.a, (uint64_t)THREADS * ROUNDS);
	run_threads(2 * THREADS, read_or_write_pairs, &c);
	CU_ASSERT_EQUAL(c.a, (uint64_t)2 * THREADS * ROUNDS);
	CU_ASSERT_EQUAL(c.a, c.b);
	CU_ASSERT_EQUAL(atomic_load(&c.torn), 0);
	CU_ASSERT_EQUAL(atomic_load(&c.l.word), 0);
}

static void *read_together(void *arg)
{
	struct counted *c = arg;
	uint64_t until = now_ns() + 5000000000u;
	int inside;

	rwl_rdlock(&c->l);
	inside = atomic_fetch_add(&c->readers_inside, 1) + 1;
	while (atomic_load(&c->readers_inside) < THREADS && now_ns() < until)
		usleep(100);
	if (inside == THREADS)
		atomic_store(&c->readers_max, inside);
	rwl_rdunlock(&c->l);
	return NULL;
}

static void test_rwl_readers_share(void)
{
	struct counted c = {.a = 0};

	rwl_init(&c.l, RANK_LEAF, 0);
	run_threads(THREADS, read_together, &c);
	CU_ASSERT_EQUAL(atomic_load(&c.readers_max), THREADS);
}

static void test_rwl_trylock(void)
{
	struct rwl l;

	rwl_init(&l, RANK_LEAF, 0);
	CU_ASSERT_TRUE(rwl_tryrdlock(&l));
	CU_ASSERT_TRUE(rwl_tryrdlock(&l));
	CU_ASSERT_FALSE(rwl_trywrlock(&l));
	rwl_rdunlock(&l);
	CU_ASSERT_FALSE(rwl_trywrlock(&l));
	rwl_rdunlock(&l);
	CU_ASSERT_TRUE(rwl_trywrlock(&l));
	CU_ASSERT_FALSE(rwl_tryrdlock(&l));
	CU_ASSERT_FALSE(rwl_trywrlock(&l));
	rwl_wrunlock(&l);
	CU_ASSERT_TRUE(rwl_tryrdlock(&l));
	rwl_rdunlock(&l);
}

static void *write_once(void *arg)
{
	struct counted *c = arg;

	rwl_wrlock(&c->l);
	c->a = 1;
	rwl_wrunlock(&c->l);
	return NULL;
}

/* With a writer waiting no new reader gets in. */
static void test_rwl_prefers_writers(void)
{
	struct counted c = {.a = 0};
	uint64_t until = now_ns() + 5000000000u;
	pthread_t writer;

	rwl_init(&c.l, RANK_LEAF, 0);
	rwl_rdlock(&c.l);
	pthread_create(&writer, NULL, write_once, &c);
	while (!(atomic_load(&c.l.word) & RWL_WRITERS_WAIT) && now_ns() < until)
		usleep(100);
	CU_ASSERT_FALSE(rwl_tryrdlock(&c.l));
	rwl_rdunlock(&c.l);
	pthread_join(writer, NULL);
	CU_ASSERT_EQUAL(c.a, 1);
	CU_ASSERT_TRUE(rwl_tryrdlock(&c.l));
	rwl_rdunlock(&c.l);
}

/* ---- a queue of sleepers drains, one at a time: nobody is forgotten when there is no other
 * traffic */

static struct counted queue;

static void critical(bool alone)
{
	int inside = atomic_fetch_add(&queue.readers_inside, 1) + 1;

	usleep(2000);
	if (alone && (inside != 1 || atomic_load(&queue.readers_inside) != 1))
		atomic_fetch_add(&queue.torn, 1);
	if (alone)
		queue.a++;
	atomic_fetch_sub(&queue.readers_inside, 1);
}

static void *sleep_on_mtx(void *arg)
{
	mtx_lock(&queue.m);
	critical(true);
	mtx_unlock(&queue.m);
	return arg;
}

static void *sleep_to_write(void *arg)
{
	rwl_wrlock(&queue.l);
	critical(true);
	rwl_wrunlock(&queue.l);
	return arg;
}

static void *sleep_to_read(void *arg)
{
	rwl_rdlock(&queue.l);
	critical(false);
	rwl_rdunlock(&queue.l);
	return arg;
}

/* Starts them with both locks held, lets them all fall asleep, lets go. */
static void drain(unsigned int n, void *(*const fns[])(void *), bool held_to_read)
{
	pthread_t t[8];

	if (held_to_read)
		rwl_rdlock(&queue.l);
	else
		rwl_wrlock(&queue.l);
	mtx_lock(&queue.m);
	for (unsigned int i = 0; i < n; i++)
		pthread_create(&t[i], NULL, fns[i], NULL);
	usleep(50000);
	mtx_unlock(&queue.m);
	if (held_to_read)
		rwl_rdunlock(&queue.l);
	else
		rwl_wrunlock(&queue.l);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

static void test_sleepers(void)
{
	static void *(*const on_mtx[])(void *) = {sleep_on_mtx, sleep_on_mtx, sleep_on_mtx,
						  sleep_on_mtx};
	static void *(*const writers[])(void *) = {sleep_to_write, sleep_to_write, sleep_to_write};
	static void *(*const readers[])(void *) = {sleep_to_read, sleep_to_read, sleep_to_read};
	static void *(*const both[])(void *) = {sleep_to_read,	sleep_to_write, sleep_to_read,
						sleep_to_write, sleep_to_write, sleep_to_read};

	mtx_init(&queue.m, RANK_LEAF, 0);
	rwl_init(&queue.l, RANK_DATA, 0);
	alarm(60); /* somebody sleeps for ever: the test dies */
	drain(4, on_mtx, false);
	drain(3, writers, false);
	drain(3, writers, true);
	drain(3, readers, false);
	for (int i = 0; i < 5; i++) {
		drain(6, both, false);
		drain(6, both, true);
	}
	alarm(0);
	CU_ASSERT_EQUAL(queue.a, 4 + 3 + 3 + 10 * 3);
	CU_ASSERT_EQUAL(atomic_load(&queue.torn), 0);
	CU_ASSERT_EQUAL(atomic_load(&queue.l.word), 0);
	CU_ASSERT_EQUAL(atomic_load(&queue.m.word), MTX_FREE);
}

/* ---- who hands out turns is asked in the place of a sleep */

static struct {
	struct mtx m;
	struct rwl l;
	_Atomic int asked, held, let_go;
} turn;

static bool turn_is_theirs(void)
{
	turn.asked++;
	turn.let_go = 1;
	while (turn.held)
		;
	return true;
}

static bool no_turn_of_ours(void)
{
	turn.asked++;
	turn.let_go = 1;
	return false;
}

static void *hold_both(void *arg)
{
	(void)arg;
	rwl_rdlock(&turn.l);
	mtx_lock(&turn.m);
	turn.held = 1;
	while (!turn.let_go)
		;
	mtx_unlock(&turn.m);
	rwl_rdunlock(&turn.l);
	turn.held = 0;
	return NULL;
}

static void take_held(lock_turn_fn *fn, bool write)
{
	pthread_t t;

	turn.asked = turn.let_go = turn.held = 0;
	CU_ASSERT_FATAL(pthread_create(&t, NULL, hold_both, NULL) == 0);
	while (!turn.held)
		;
	lock_set_turns(fn);
	if (write) {
		rwl_wrlock(&turn.l);
		rwl_wrunlock(&turn.l);
	} else {
		mtx_lock(&turn.m);
		mtx_unlock(&turn.m);
	}
	lock_set_turns(NULL);
	CU_ASSERT(turn.asked > 0);
	pthread_join(t, NULL);
}

static void test_turns(void)
{
	mtx_init(&turn.m, RANK_LEAF, 0);
	rwl_init(&turn.l, RANK_DIR, 0);
	take_held(turn_is_theirs, false);
	take_held(turn_is_theirs, true);
	take_held(no_turn_of_ours, false);
	take_held(no_turn_of_ours, true);
	lock_set_turns(turn_is_theirs);
	turn.asked = 0;
	lock_yield();
	CU_ASSERT(turn.asked == 1);
	lock_set_turns(NULL);
	lock_yield();
	CU_ASSERT(turn.asked == 1);
}

static void test_depth(void)
{
	struct mtx m;
	struct rwl l;

	mtx_init(&m, RANK_LEAF, 0);
	rwl_init(&l, RANK_DIR, 0);
	CU_ASSERT_EQUAL(lock_depth(), 0);
	rwl_wrlock(&l);
	mtx_lock(&m);
	CU_ASSERT_EQUAL(lock_depth(), 2);
	CU_ASSERT_FALSE(mtx_trylock(&m));
	CU_ASSERT_EQUAL(lock_depth(), 2);
	mtx_unlock(&m);
	rwl_wrunlock(&l);
	CU_ASSERT_EQUAL(lock_depth(), 0);
	CU_ASSERT_TRUE(rwl_tryrdlock(&l));
	CU_ASSERT_EQUAL(lock_depth(), 1);
	rwl_rdunlock(&l);
	CU_ASSERT_EQUAL(lock_depth(), 0);
}

/* ---- wait queue */

static void test_waitq_times_out(void)
{
	struct waitq q = {0};
	uint64_t start = now_ns();

	CU_ASSERT_EQUAL(waitq_wait(&q, waitq_key(&q), 20000000), -ETIMEDOUT);
	CU_ASSERT_TRUE(now_ns() - start >= 20000000);
}

static void test_waitq_missed_wake(void)
{
	struct waitq q = {0};
	uint32_t key = waitq_key(&q);

	waitq_wake_all(&q); /* after the key was read: the wait returns at once */
	CU_ASSERT_EQUAL(waitq_wait(&q, key, UINT64_MAX), 0);
	CU_ASSERT_EQUAL(waitq_wait(&q, waitq_key(&q), 1000000), -ETIMEDOUT);
	/* The timed-out sleeper's mark is still there; a wake must move the key all the same. */
	key = waitq_key(&q);
	waitq_wake_all(&q);
	CU_ASSERT_NOT_EQUAL(waitq_key(&q), key);
	CU_ASSERT_EQUAL(waitq_wait(&q, key, UINT64_MAX), 0);
}

struct turns {
	struct waitq q;
	struct mtx m;
	uint64_t turn; /* under m */
};

static void *take_turns(void *arg)
{
	struct turns *t = arg;
	static _Atomic uint64_t next_id;
	uint64_t id = atomic_fetch_add(&next_id, 1) % THREADS;

	for (uint64_t i = 0; i < 500; i++) {
		for (;;) {
			uint32_t key = waitq_key(&t->q);
			bool mine;

			mtx_lock(&t->m);
			mine = t->turn == i * THREADS + id;
			t->turn += mine;
			mtx_unlock(&t->m);
			if (mine)
				break;
			waitq_wait(&t->q, key, UINT64_MAX);
		}
		waitq_wake_all(&t->q);
	}
	return NULL;
}

/* No wake is lost: every thread waits for the one before it, without a time limit. */
static void test_waitq_turns(void)
{
	struct turns t = {.turn = 0};

	mtx_init(&t.m, RANK_LEAF, 0);
	alarm(120);
	run_threads(THREADS, take_turns, &t);
	alarm(0);
	CU_ASSERT_EQUAL(t.turn, 500 * THREADS);
}

/* ---- the order check; this file is also built with HF_DEBUG_LOCKS */

#ifdef HF_DEBUG_LOCKS
static struct mtx low, high, same_a, same_b;
static struct rwl shared;

static void order_ok(void)
{
	mtx_lock(&low);
	mtx_lock(&high);
	mtx_unlock(&low); /* any order of release */
	mtx_unlock(&high);
	mtx_lock(&same_a);
	mtx_lock(&same_b);
	mtx_unlock(&same_b);
	mtx_unlock(&same_a);
	mtx_lock(&high);
	if (!mtx_trylock(&low)) /* cannot deadlock, so any order */
		_exit(3);
	mtx_unlock(&low);
	mtx_unlock(&high);
}

static void order_rank_falls(void)
{
	mtx_lock(&high);
	mtx_lock(&low);
}

static void order_same_rank_falls(void)
{
	mtx_lock(&same_b);
	mtx_lock(&same_a);
}

static void order_recursive_read(void)
{
	rwl_rdlock(&shared);
	rwl_rdlock(&shared);
}

static void order_not_held(void)
{
	mtx_lock(&low);
	mtx_unlock(&high);
}

/* The exit status of a child that runs fn: 0, or 128 + the signal. */
static int run_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		close(STDERR_FILENO);
		fn();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_order(void)
{
	mtx_init(&low, RANK_DIR, 0);
	mtx_init(&high, RANK_LEAF, 0);
	mtx_init(&same_a, RANK_DATA, 7);
	mtx_init(&same_b, RANK_DATA, 9);
	rwl_init(&shared, RANK_LAYOUT, 1);
	CU_ASSERT_EQUAL(run_child(order_ok), 0);
	CU_ASSERT_EQUAL(run_child(order_rank_falls), 128 + SIGABRT);
	CU_ASSERT_EQUAL(run_child(order_same_rank_falls), 128 + SIGABRT);
	CU_ASSERT_EQUAL(run_child(order_recursive_read), 128 + SIGABRT);
	CU_ASSERT_EQUAL(run_child(order_not_held), 128 + SIGABRT);
}
#endif

static const struct hf_case cases[] = {
    {"mutex: mutual exclusion", test_mtx_excludes},
    {"mutex: trylock", test_mtx_trylock},
    {"rwlock: mutual exclusion", test_rwl_excludes},
    {"rwlock: readers share", test_rwl_readers_share},
    {"rwlock: trylock", test_rwl_trylock},
    {"rwlock: a waiting writer keeps readers out", test_rwl_prefers_writers},
    {"sleepers", test_sleepers},
    {"turns", test_turns},
    {"lock depth", test_depth},
    {"waitq: timeout", test_waitq_times_out},
    {"waitq: a wake before the wait", test_waitq_missed_wake},
    {"waitq: turns", test_waitq_turns},
#ifdef HF_DEBUG_LOCKS
    {"order check", test_order},
#endif
};

int main(void)
{
	return hf_run_suite("base: locks", cases, HF_COUNT(cases));
}
