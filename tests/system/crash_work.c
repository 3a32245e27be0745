#include "crash_work.h"

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const struct op_profile work_profile = {
    .name = "kill9",
    .volume_bytes = 512u << 20,
    .inodes = 150,
    .off_max = 3u << 20,
    .pages_max = 5000,
    .huge = true,
    .crash = true,
};

/* ---- working */

/* Nothing happened and nothing is wrong: a map that is too scattered to be shifted in one record.
 */
static bool refused(const struct model *m, const struct op *op, int64_t ret)
{
	return ret == -EFBIG && op->kind == OP_FALLOCATE &&
	       op->mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) &&
	       m->handles[op->slot].in->npages > 64;
}

/* The same in the child and, from the log, in the parent. */
static bool model_step(struct worker *w, const struct op *op, int64_t ret)
{
	bool unclear;

	if (refused(w->m, op, ret))
		return true;
	w->b.ret = ret;
	op_model(w->m, op, &w->b, &unclear);
	return w->b.ret == ret || (unclear && ret < 0 && w->b.ret < 0);
}

static void *work_thread(void *arg)
{
	struct worker *w = arg;

	for (uint64_t i = 0; i < WORK_LOG_MAX; i++) {
		struct work_entry *e = &w->log->e[i];

		op_generate(&w->gen, w->m, &e->op);
		atomic_store(&w->log->started, i + 1);
		op_real(&w->real, &e->op, &w->a);
		e->ret = w->a.ret;
		atomic_store(&w->log->done, i + 1);
		if (!model_step(w, &e->op, e->ret)) {
			atomic_store(&w->log->mismatch, true);
			break;
		}
	}
	return NULL;
}

void work_clear(struct crash_work *cw, uint64_t seed)
{
	struct rng rng = {seed};

	for (int i = 0; i < WORK_THREADS; i++) {
		cw->w[i].log->started = cw->w[i].log->done = 0;
		cw->w[i].gen.rng.s = rng_next(&rng);
	}
}

void work_begin(struct crash_work *cw, hf_volume *vol, pthread_t t[WORK_THREADS])
{
	for (int i = 0; i < WORK_THREADS; i++) {
		cw->w[i].real.vol = vol;
		pthread_create(&t[i], NULL, work_thread, &cw->w[i]);
	}
}

int work_mount(struct crash_work *cw, hf_volume **vol)
{
	const struct hf_mount_options o = {
	    .struct_size = sizeof(o),
	    .flags = cw->flags,
	    .uid = 1000,
	    .gid = 100,
	    .use_ids = true,
	    .max_cached_inodes = 64,
	};
	int err = hf_mount(vol, cw->path, &o);

	if (err)
		fprintf(stderr, "round %llu: mount: %d: %s\n",
			(unsigned long long)cw->round, err, hf_errormsg());
	return err;
}

/* ---- looking */

int work_fail(struct crash_work *cw, const struct worker *w, const struct op *op)
{
	char a[64];

	fprintf(stderr, "round %llu%s%s: %s\n", (unsigned long long)cw->round,
		w ? ", thread in " : "", w ? w->real.prefix : "", cw->v.text);
	if (op) {
		fprintf(stderr, "in flight or last: ");
		op_print(stderr, op);
		fprintf(stderr, "the model: %s\n", op_error(w->b.ret, a));
	}
	return 1;
}

static int replay_log(struct crash_work *cw, struct worker *w)
{
	uint64_t done = atomic_load(&w->log->done);

	for (uint64_t i = 0; i < done; i++) {
		struct work_entry *e = &w->log->e[i];

		if (!model_step(w, &e->op, e->ret)) {
			snprintf(cw->v.text, sizeof(cw->v.text), "operation %llu gave %lld",
				 (unsigned long long)i, (long long)e->ret);
			return work_fail(cw, w, &e->op);
		}
	}
	cw->ops += done;
	return 0;
}

/* Inode numbers that a comparison with the wrong model learned are forgotten. */
static void ids_forget(struct model *m, const struct hf_id *ids, size_t n)
{
	for (size_t i = 0; i < n && i < m->n; i++)
		m->inodes[i]->id = ids[i];
}

static struct hf_id *ids_save(const struct model *m)
{
	struct hf_id *ids = calloc(m->n, sizeof(*ids));

	for (size_t i = 0; i < m->n; i++)
		ids[i] = m->inodes[i]->id;
	return ids;
}

struct flight {
	const struct op *op;
	struct m_inode *in; /* whose bytes change; NULL: none */
	uint64_t off, len, size_old, size_new;
	bool plain; /* the size may be between as well */
};

/* The bytes that the operation changes, as they were. */
static void flight_before(struct crash_work *cw, struct worker *w, struct flight *f)
{
	const struct op *op = f->op;

	f->in = op_file(w->m, op);
	if (!f->in)
		return;
	f->plain = op->kind == OP_WRITE || op->kind == OP_APPEND || op->kind == OP_COPY;
	f->size_old = f->in->size;
	f->off = op->kind == OP_COPY ? op->off2 : op->off;
	if (op->kind == OP_APPEND ||
	    (op->kind == OP_WRITE && w->m->handles[op->slot].flags & HF_O_APPEND))
		f->off = f->size_old;
	f->len = f->plain || op->kind == OP_FALLOCATE ? op->len : 0;
	if (op->kind == OP_FALLOCATE &&
	    op->mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
		f->len = 0;
	m_read(f->in, cw->old, f->len, f->off);
}

/* The bytes of the file in flight: old or new. */
static int flight_bytes(struct crash_work *cw, struct worker *w, struct flight *f)
{
	struct hf_stat st;
	hf_file *file;
	int err = hf_inode_open(w->real.vol, f->in->id, HF_O_RDONLY, &file);

	if (err || hf_fstat(file, &st)) {
		snprintf(cw->v.text, sizeof(cw->v.text),
			 "the file in flight cannot be opened: %d", err);
		return 1;
	}
	f->size_new = f->in->size;
	if (st.size != f->size_old && st.size != f->size_new &&
	    !(f->plain && st.size > f->size_old && st.size < f->size_new)) {
		snprintf(cw->v.text, sizeof(cw->v.text),
			 "the file in flight has size %#llx, old %#llx, new %#llx",
			 (unsigned long long)st.size, (unsigned long long)f->size_old,
			 (unsigned long long)f->size_new);
		err = 1;
	}
	if (!err) {
		m_read(f->in, cw->new, f->len, f->off);
		m_resize(w->m, f->in, st.size);
		err =
		    verify_adopt(&cw->v, w->m, f->in, file, cw->old, cw->new, f->off, f->len, 8);
	}
	if (!err)
		err = verify_content(&cw->v, f->in, "the file in flight");
	hf_close(&file);
	return err;
}

/* Not at all, wholly, or data between. */
static int verify_flight(struct crash_work *cw, struct worker *w, const struct op *op)
{
	struct flight f = {.op = op};
	struct hf_id *ids = ids_save(w->m);
	size_t n = w->m->n;
	int64_t ret = 0;
	int err;

	cw->v.in_flight = NULL;
	err = verify_all(&cw->v, w->m);
	cw->nothing += !err;
	if (!err)
		goto out;
	ids_forget(w->m, ids, n);
	flight_before(cw, w, &f);
	model_step(w, op, ret);
	err = verify_all(&cw->v, w->m);
	cw->whole += !err;
	if (!err || !f.in || f.in->nlink == 0)
		goto out;
	ids_forget(w->m, ids, n);
	cw->v.in_flight = f.in;
	err = verify_all(&cw->v, w->m);
	cw->v.in_flight = NULL;
	if (!err)
		err = flight_bytes(cw, w, &f);
	cw->partial += !err;
out:
	free(ids);
	return err ? work_fail(cw, w, op) : 0;
}

static int verify_worker(struct crash_work *cw, struct worker *w, hf_volume *vol)
{
	uint64_t done = atomic_load(&w->log->done);
	const struct op *op = atomic_load(&w->log->started) > done ? &w->log->e[done].op : NULL;
	int err;

	w->real.vol = vol;
	cw->v.r = &w->real;
	cw->v.crashed = true;
	if (op) {
		err = verify_flight(cw, w, op);
	} else {
		err = verify_all(&cw->v, w->m);
		if (err)
			work_fail(cw, w, done ? &w->log->e[done - 1].op : NULL);
	}
	m_crash(w->m);
	return err;
}

int work_replay(struct crash_work *cw)
{
	int err = 0;

	for (int i = 0; i < WORK_THREADS && !err; i++)
		err = replay_log(cw, &cw->w[i]);
	return err;
}

int work_verify(struct crash_work *cw, hf_volume *vol)
{
	int err = 0;

	for (int i = 0; i < WORK_THREADS && !err; i++)
		err = verify_worker(cw, &cw->w[i], vol);
	return err;
}

void work_setup(struct crash_work *cw, const char *const prefixes[WORK_THREADS], struct work_log *const logs[WORK_THREADS])
{
	cw->v.a = malloc(OP_LEN_MAX + 4096);
	cw->v.b = malloc(OP_LEN_MAX + 4096);
	cw->old = malloc(OP_LEN_MAX + 4096);
	cw->new = malloc(OP_LEN_MAX + 4096);
	for (int i = 0; i < WORK_THREADS; i++) {
		struct worker *w = &cw->w[i];

		w->gen.profile = &work_profile;
		w->m = m_new(1000, 100);
		w->m->times = false;
		w->real = (struct real){.prefix = prefixes[i], .m = w->m};
		w->a.buf = malloc(OP_LEN_MAX + 4096);
		w->b.buf = malloc(OP_LEN_MAX + 4096);
		w->log = logs[i];
	}
}
