#include "load.h"

#include <stdlib.h>

#define SECOND_NS 1000000000ll

struct runner {
	const struct load *l;
	struct load_limits *limits;
	unsigned n;
	struct snap *snap[LOAD_STEPS + 1]; /* before the first, after each */
	/* Two threads: */
	bool two;
	uint64_t k, m;
	struct sched sched;
	struct snap *pair[2][2]; /* with the first's step or without, and the second's */
	hf_crash_run *run;
	struct load_world world[2];
	enum hf_crash_op_state state[2];
	int err;
};

bool load_add(struct load_limits *limits, struct hf_crash_result *sum, const struct hf_crash_result *r)
{
	sum->points += r->points;
	sum->states += r->states;
	sum->images += r->images;
	sum->kills += r->kills;
	sum->recovery_images += r->recovery_images;
	sum->failures += r->failures;
	sum->seconds += r->seconds;
	if (limits->seconds > 0 && sum->seconds >= limits->seconds)
		sum->stopped = true;
	return sum->failures == 0 && !sum->stopped;
}

void load_failed(void *arg, const struct hf_crash_failure *f)
{
	struct load_limits *limits = arg;

	snprintf(limits->id, sizeof(limits->id), "%s", f->id);
	snprintf(limits->where, sizeof(limits->where), "%s", f->where);
	snprintf(limits->text, sizeof(limits->text), "%s", f->text);
	if (limits->quiet)
		return;
	printf("    %s\n    id %s\n", f->where, f->id);
	for (const char *p = f->text; *p; p += strcspn(p, "\n"), p += *p == '\n')
		printf("      %.*s\n", (int)strcspn(p, "\n"), p);
	printf("    %llu lines left out\n", (unsigned long long)f->lines_left_out);
	for (const char *p = f->left_out; *p; p += strcspn(p, "\n"), p += *p == '\n')
		printf("      %.*s\n", (int)strcspn(p, "\n"), p);
}

/* ---- steps */

static unsigned count(const struct load_step *s)
{
	unsigned n = 0;

	while (s && s[n].name)
		n++;
	return n;
}

/* A step may well fail; but not so. */
static int fatal(int64_t ret)
{
	return ret == -EIO || ret == -EUCLEAN || ret == -EBADMSG || ret == -ESHUTDOWN ||
		       ret == -ENOMEM
		   ? (int)ret
		   : 0;
}

/* A workload whose steps fail would show nothing. */
static int succeed(struct load_world *w, const struct load_step *s)
{
	int64_t ret = s->fn(w, s);

	if (ret >= 0)
		return 0;
	printf("    %s: %s\n", s->name, err_msg());
	return (int)ret;
}

static int do_setup(struct load_world *w, const struct load *l)
{
	int err = 0;

	for (unsigned i = 0; i < count(l->setup) && !err; i++)
		err = succeed(w, &l->setup[i]);
	return err ? err_prefix(err, "%s: setting up", l->name) : 0;
}

static int close_files(struct load_world *w, int err)
{
	for (int i = 0; i < LOAD_FILES; i++)
		if (w->file[i]) {
			int closed = hf_close(&w->file[i]);

			err = err ? err : closed;
		}
	return err;
}

static int rehearse_in(struct runner *r, hf_volume *vol)
{
	struct load_world w = {.vol = vol};
	int err = do_setup(&w, r->l);

	if (!err)
		err = hf_syncfs(vol);
	if (!err)
		err = snap_take(vol, &r->snap[0]);
	for (unsigned i = 0; i < r->n && !err; i++) {
		inode_set_now(CRASH_EPOCH_NS + (i + 1) * SECOND_NS);
		err = succeed(&w, &r->l->steps[i]);
		if (!err)
			err = snap_take(vol, &r->snap[i + 1]);
	}
	return close_files(&w, err);
}

/* The two steps, those that 'which' says. */
static int rehearse_pair(struct runner *r, hf_volume *vol, unsigned which)
{
	const struct load_step *s[2] = {r->l->steps, r->l->second};
	struct load_world w = {.vol = vol};
	int err = do_setup(&w, r->l);

	inode_set_now(CRASH_EPOCH_NS + SECOND_NS);
	for (unsigned t = 0; t < 2 && !err; t++)
		if (which >> t & 1)
			err = succeed(&w, s[t]);
	if (!err)
		err = snap_take(vol, &r->pair[which & 1][which >> 1]);
	return close_files(&w, err);
}

static int rehearse(struct runner *r, unsigned which)
{
	hf_crash_media *m;
	hf_volume *vol;
	int err = hf_crash_media_new(&m, r->l->bytes ? r->l->bytes : 8u << 20, NULL), closed;

	if (err)
		return err;
	m->light = true;
	inode_set_now(CRASH_EPOCH_NS);
	err = hf_crash_media_format(m, r->limits->seed);
	if (!err)
		err = hf_crash_media_mount(m, &vol);
	if (!err) {
		err = r->two ? rehearse_pair(r, vol, which) : rehearse_in(r, vol);
		closed = volume_close(vol);
		err = err ? err : closed;
	}
	inode_set_now(0);
	hf_crash_media_delete(&m);
	return err;
}

/* ---- for the explorer */

static int run_setup(hf_crash_run *run)
{
	struct runner *r = hf_crash_ctx(run);
	struct load_world w = {.vol = hf_crash_run_volume(run)};

	return do_setup(&w, r->l);
}

static int run_steps(hf_crash_run *run)
{
	struct runner *r = hf_crash_ctx(run);
	struct load_world w = {.vol = hf_crash_run_volume(run), .run = run};
	int err = 0;

	for (unsigned i = 0; i < r->n && !err; i++) {
		uint32_t op = hf_crash_op_begin(run, r->l->steps[i].name);

		err = fatal(r->l->steps[i].fn(&w, &r->l->steps[i]));
		hf_crash_op_end(run, op);
	}
	return close_files(&w, err);
}

static void pair_step(struct runner *r, unsigned t, const struct load_step *s)
{
	uint32_t op;

	r->state[t] = HF_CRASH_OP_IN_FLIGHT;
	op = hf_crash_op_begin(r->run, s->name);
	inode_set_now(CRASH_EPOCH_NS + SECOND_NS);
	if (fatal(s->fn(&r->world[t], s)))
		r->err = -EUCLEAN;
	r->state[t] = HF_CRASH_OP_FINISHED;
	hf_crash_op_end(r->run, op);
}

static void pair_first(void *ctx)
{
	struct runner *r = ctx;

	pair_step(r, 0, r->l->steps);
}

static void pair_second(void *ctx)
{
	struct runner *r = ctx;

	pair_step(r, 1, r->l->second);
}

static int run_pair(hf_crash_run *run)
{
	struct runner *r = hf_crash_ctx(run);
	hf_volume *vol = hf_crash_run_volume(run);

	r->run = run;
	for (unsigned t = 0; t < 2; t++) {
		r->world[t] = (struct load_world){.vol = vol, .run = run};
		r->state[t] = HF_CRASH_OP_NONE;
	}
	sched_run(&r->sched, vol->fs.pm, pair_first, pair_second, r,
		  &(struct schedule){.k = r->k, .m = r->m, .name = r->l->name});
	r->err = close_files(&r->world[0], r->err);
	return close_files(&r->world[1], r->err);
}

static bool pair_ok(hf_crash_run *run, const struct runner *r, const struct snap *have)
{
	char text[512];

	for (unsigned i = 0; i < 4; i++) {
		bool ok = true;

		for (unsigned t = 0; t < 2; t++) {
			bool there = i >> t & 1;

			ok = ok && r->state[t] != (there ? HF_CRASH_OP_NONE : HF_CRASH_OP_FINISHED);
		}
		if (ok && snap_same(have, r->pair[i & 1][i >> 1], r->state[0] != HF_CRASH_OP_IN_FLIGHT && r->state[1] != HF_CRASH_OP_IN_FLIGHT))
			return true;
	}
	snap_difference(have, r->pair[1][1], text, sizeof(text));
	hf_crash_say(run, "not as after what finished; for instance: %s", text);
	return false;
}

static bool tree_ok(hf_crash_run *run, const struct runner *r, const struct snap *have)
{
	uint32_t begun = hf_crash_ops(run);
	bool flying = begun > 0 && hf_crash_op_state(run, begun - 1) == HF_CRASH_OP_IN_FLIGHT;
	const struct snap *after = r->snap[begun], *before = flying ? r->snap[begun - 1] : after;
	const struct load_step *s = begun ? &r->l->steps[begun - 1] : NULL;
	char text[512];

	if (r->two)
		return pair_ok(run, r, have);
	if (snap_same(have, after, !flying) || snap_same(have, before, !flying))
		return true;
	if (flying && s->data && snap_mixed(have, before, after, s->off, s->len))
		return true;
	snap_difference(have, after, text, sizeof(text));
	hf_crash_say(run, "%s: %s", flying ? "not as after the operation" : "not as it was", text);
	if (flying) {
		snap_difference(have, before, text, sizeof(text));
		hf_crash_say(run, "nor as before: %s", text);
	}
	return false;
}

static int no_findings(hf_crash_run *run, hf_volume *vol)
{
	struct hf_check_options opts = {.struct_size = sizeof(opts), .max_findings = 1};
	struct hf_check_result res;

	if (hf_check_mounted(vol, &opts, &res) || res.findings)
		return hf_crash_say(run, "when it was emptied: the check has findings");
	return 0;
}

/* Blocks whose bit says that they are free. */
static uint64_t free_on_media(const struct fs *fs)
{
	uint64_t n = 0;

	for (uint64_t w = 0; w < fs->geo.nblocks / 64; w++)
		n += 64 - (uint64_t)__builtin_popcountll(
			      pm_load64(fs->pm, moff_add(fs->geo.alloc_off, w * 8)));
	return n;
}

/* It can be emptied, and then everything is free. */
static int use_it(hf_crash_run *run, hf_volume *vol, const struct snap *have)
{
	struct hf_statfs st;

	if (snap_remove_all(vol, have) != 0 || hf_syncfs(vol) != 0 || hf_statfs(vol, &st) != 0)
		return hf_crash_say(run, "it cannot be emptied: %s", hf_errormsg());
	if (st.blocks_free + st.blocks_busy_journal + st.blocks_busy_pinned + st.blocks_used !=
	    st.blocks)
		return hf_crash_say(run, "free, busy and used blocks do not add up");
	if (st.blocks_free + st.blocks_busy_journal != free_on_media(&vol->fs))
		return hf_crash_say(run, "%llu blocks are free on the media, %llu say the counters",
				    (unsigned long long)free_on_media(&vol->fs),
				    (unsigned long long)(st.blocks_free + st.blocks_busy_journal));
	return hf_crash_run_first(run) ? no_findings(run, vol) : 0;
}

/* Bytes of a file that was removed before. */
static bool has_old_bytes(hf_volume *vol, const char *path)
{
	static uint8_t buf[65536];
	hf_file *f;
	ssize_t n;
	unsigned run = 0;

	if (!path || hf_open(vol, path, HF_O_RDONLY, 0, &f) != 0)
		return false;
	n = hf_pread(f, buf, sizeof(buf), 0);
	hf_close(&f);
	for (ssize_t i = 0; i < n && run < 16; i++)
		run = buf[i] == LOAD_OLD_BYTE ? run + 1 : 0;
	return run == 16;
}

static const char *old_bytes(const struct load *l, hf_volume *vol)
{
	const struct load_step *lists[3] = {l->setup, l->steps, l->second};

	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = 0; i < count(lists[k]); i++) {
			const struct load_step *s = &lists[k][i];

			if (has_old_bytes(vol, s->a))
				return s->a;
			if (s->b && has_old_bytes(vol, s->b))
				return s->b;
		}
	return NULL;
}

static int run_check(hf_crash_run *run)
{
	struct runner *r = hf_crash_ctx(run);
	hf_volume *vol = hf_crash_run_volume(run);
	const char *old = old_bytes(r->l, vol);
	struct snap *have;
	int err;

	if (old)
		return hf_crash_say(run, "%s has bytes of a file that was removed", old);
	err = snap_take(vol, &have);
	if (err)
		return hf_crash_say(run, "it cannot be read: %s", hf_errormsg());
	err = tree_ok(run, r, have) ? use_it(run, vol, have) : -EUCLEAN;
	snap_free(have);
	return err;
}

static void on_failure(void *ctx, const struct hf_crash_failure *f)
{
	struct runner *r = ctx;

	load_failed(r->limits, f);
}

static int explore(struct runner *r, struct hf_crash_result *res)
{
	const struct load *l = r->l;
	struct hf_crash_options o = {.struct_size = sizeof(o),
				     .bytes = l->bytes,
				     .model = {.granularity = l->granularity},
				     .seed = r->limits->seed,
				     .number = (uint32_t)(r->k << 16 | r->m),
				     .max_images = r->limits->max_images,
				     .seconds = r->limits->seconds,
				     .ctx = r,
				     .setup = run_setup,
				     .workload = r->two ? run_pair : run_steps,
				     .check = run_check,
				     .failure = on_failure};

	if (r->limits->replay)
		return hf_crash_replay(&o, r->limits->replay, res);
	return hf_crash_explore(&o, res);
}

static int run_steps_load(struct runner *r, struct hf_crash_result *sum)
{
	struct hf_crash_result res;
	int err;

	r->n = count(r->l->steps);
	HF_ASSERT(r->n <= LOAD_STEPS);
	err = rehearse(r, 0);
	if (!err)
		err = explore(r, &res);
	if (!err)
		load_add(r->limits, sum, &res);
	for (unsigned i = 0; i <= r->n; i++)
		snap_free(r->snap[i]);
	return err;
}

static int schedule(struct runner *r, uint64_t k, uint64_t m, struct hf_crash_result *sum, bool *more)
{
	struct hf_crash_result res;
	int err;

	r->k = k;
	r->m = m;
	r->err = 0;
	err = explore(r, &res);
	*more = !err && load_add(r->limits, sum, &res);
	return err;
}

/* Each schedule in which the first is interrupted once, and the second is or is not. */
static int run_schedules(struct runner *r, struct hf_crash_result *sum)
{
	uint64_t n[3], seed;
	uint32_t number;
	bool more = true;
	int err;

	if (r->limits->replay) {
		err = hf_crash_id_parse(r->limits->replay, &seed, &number);
		return err ? err : schedule(r, number >> 16, number & 0xffff, sum, &more);
	}
	err = schedule(r, 0, 0, sum, &more);
	memcpy(n, r->sched.events, sizeof(n));
	/* Those first in which the second is not interrupted. */
	for (uint64_t k = 1; k <= n[1] && more && !err; k++)
		err = schedule(r, k, 0, sum, &more);
	for (uint64_t k = 1; k <= n[1] && more && !err; k++)
		for (uint64_t m = 1; m < n[2] && more && !err; m++)
			err = schedule(r, k, m, sum, &more);
	return err;
}

static int run_pair_load(struct runner *r, struct hf_crash_result *sum)
{
	int err = 0;

	r->two = true;
	for (unsigned which = 0; which < 4 && !err; which++)
		err = rehearse(r, which);
	if (!err)
		err = run_schedules(r, sum);
	for (unsigned i = 0; i < 4; i++)
		snap_free(r->pair[i & 1][i >> 1]);
	return err;
}

int load_run(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum)
{
	struct runner r = {.l = l, .limits = limits};

	memset(sum, 0, sizeof(*sum));
	if (l->own)
		return l->own(l, limits, sum);
	return l->second ? run_pair_load(&r, sum) : run_steps_load(&r, sum);
}
