/* A lease: a pin whose holder gives way when somebody wants the range.
 *
 * THE RULE: pin before you register (or otherwise hand out an address), unpin after you deregister.
 * A lease does not weaken it: the callback says 'please', and the holder first stops whatever may
 * still store into the range and only then unpins. Unpinning in the callback while a device is
 * still at work would hand the blocks to the next file under that device.
 *
 * What happens here: a thread keeps storing into 2 MiB of a file, as a device would. Another one
 * wants to truncate the file and asks not to do it under a pin (HF_PINNED_FAIL).
 *   1. a plain pin: -EBUSY, at once, nothing changed;
 *   2. a lease, and a holder that gives way: the truncate waits for it, and succeeds;
 *   3. a lease, and a holder that does not: -EBUSY after the lease's deadline, nothing changed;
 *   4. the same without a mode: the truncate is done at once, the blocks stay with the holder.
 *
 *      lease [VOLUME]        without one: a volume in memory */
#include "example.h"
#include <pthread.h>
#include <sys/uio.h>

#define RANGE_BYTES (2u << 20)
#define SECOND_NS   UINT64_C(1000000000)

/* One holder of a range. */
struct holder {
	hf_volume *vol;
	hf_file *file;
	bool lease, stubborn;
	uint64_t deadline_ns;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ready; /* it has its pin (and lease), and is at work */
	bool stop;  /* it was asked to stop */
	unsigned asked;
	unsigned long stored;
};

/* Runs on the library's notifier thread, with no lock of the library held. It may call the library,
 * but the others' notices wait behind it: it passes the word on and returns. */
static void give_way(void *ctx, hf_volume *vol, const struct hf_lease_event *event)
{
	struct holder *h = ctx;

	(void)vol;
	/* until it gives way, who asks first has changed nothing; who did not has taken the blocks
	 * from the file already */
	expect(event->detached == (event->mode != HF_PINNED_FAIL),
	       event->detached ? "told: the blocks have left the file" : "told: somebody asks");
	pthread_mutex_lock(&h->lock);
	h->asked++;
	if (!h->stubborn)
		h->stop = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static bool holder_stopped(struct holder *h, bool ready)
{
	bool stop;

	pthread_mutex_lock(&h->lock);
	h->ready |= ready;
	stop = h->stop;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	return stop;
}

static void *holder_main(void *arg)
{
	struct holder *h = arg;
	struct hf_lease_options lease = {
	    .struct_size = sizeof(lease), .fn = give_way, .ctx = h, .deadline_ns = h->deadline_ns};
	/* a lease from the first instant: no operation comes in between and is missed */
	struct hf_pin_options how = {.struct_size = sizeof(how),
				     .flags = HF_PIN_WRITE,
				     .tag = "lease",
				     .lease = h->lease ? &lease : NULL};
	struct iovec iov[RANGE_BYTES / 4096];
	size_t iovcnt = RANGE_BYTES / 4096;
	hf_pin_id pin;

	must(hf_pin(h->file, 0, RANGE_BYTES, &how, iov, &iovcnt, &pin), "hf_pin");
	/* here a device would be told the addresses: this loop stands for it */
	for (unsigned long n = 0; !holder_stopped(h, true); n++) {
		memset(iov[n % iovcnt].iov_base, (int)n, iov[n % iovcnt].iov_len);
		h->stored++;
	}
	/* and here it would be told to forget them. Nothing stores any more: now, and not before */
	must(hf_unpin(h->vol, pin), "hf_unpin");
	return NULL;
}

static void holder_start(struct holder *h)
{
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	must(-pthread_create(&h->thread, NULL, holder_main, h), "pthread_create");
	pthread_mutex_lock(&h->lock);
	while (!h->ready)
		pthread_cond_wait(&h->changed, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

/* Waits until the holder was asked n times: with HF_PINNED_DELAY nobody else waits for the
 * callback. */
static void holder_await_asked(struct holder *h, unsigned n)
{
	pthread_mutex_lock(&h->lock);
	while (h->asked < n)
		pthread_cond_wait(&h->changed, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

static void holder_end(struct holder *h)
{
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
}

static uint64_t size_of(hf_file *file)
{
	struct hf_stat st;

	must(hf_fstat(file, &st), "hf_fstat");
	return st.size;
}

int main(int argc, char **argv)
{
	const struct hf_how fail = {.struct_size = sizeof(fail), .pinned = HF_PINNED_FAIL};
	struct holder plain = {0}, kind = {.lease = true, .deadline_ns = 60 * SECOND_NS};
	struct holder hard = {.lease = true, .stubborn = true, .deadline_ns = SECOND_NS / 10};
	hf_volume *vol;
	hf_file *file;

	must(argc > 1 ? hf_mount(&vol, argv[1], NULL) : hf_mount_memory(&vol, 32 << 20, NULL),
	     "mount");
	must(hf_open(vol, "/leased", HF_O_RDWR | HF_O_CREAT, 0600, &file), "/leased");
	must(hf_fallocate(file, 0, 0, RANGE_BYTES), "hf_fallocate");
	plain.vol = kind.vol = hard.vol = vol;
	plain.file = kind.file = hard.file = file;

	puts("A plain pin, nobody to ask:");
	holder_start(&plain);
	expect(hf_ftruncate_how(file, 0, &fail) == -EBUSY, "truncate, HF_PINNED_FAIL: -EBUSY");
	expect(size_of(file) == RANGE_BYTES, "nothing changed");
	holder_end(&plain);

	puts("A lease, and a holder that gives way:");
	holder_start(&kind);
	must(hf_ftruncate_how(file, 0, &fail), "hf_ftruncate_how");
	expect(size_of(file) == 0 && busy_bytes(vol) == 0,
	       "the file is empty, and nothing is busy");
	holder_end(&kind);
	expect(kind.asked == 1, "the holder was asked once, and let go");
	printf("  (it had stored %lu times)\n", kind.stored);

	puts("A lease, and a holder that does not:");
	must(hf_fallocate(file, 0, 0, RANGE_BYTES), "hf_fallocate");
	holder_start(&hard);
	expect(hf_ftruncate_how(file, 0, &fail) == -EBUSY, "-EBUSY after the lease's deadline");
	expect(size_of(file) == RANGE_BYTES, "nothing changed");

	puts("The same holder, and a plain truncate:");
	must(hf_ftruncate(file, 0), "hf_ftruncate");
	expect(size_of(file) == 0, "done, without waiting for anybody");
	expect(busy_bytes(vol) == RANGE_BYTES, "the holder keeps the blocks: they are busy");
	holder_await_asked(&hard, 2);
	expect(1, "it was asked again all the same");
	holder_end(&hard);
	expect(busy_bytes(vol) == 0, "unpinned: nothing is busy any more");

	must(hf_close(&file), "hf_close");
	must(hf_unlink(vol, "/leased"), "hf_unlink");
	must(hf_unmount(&vol), "hf_unmount");
	return 0;
}
