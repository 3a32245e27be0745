/* Pins, by the public names. What they are is in src/pin. */
#include "file/resize.h"
#include "pin/pin.h"

#include <stdlib.h>
#include "file/view_fill.h"

#include <string.h>
#include <sys/uio.h>

#define PIN_KNOWN ((unsigned)(HF_PIN_WRITE | HF_PIN_ALLOC))
#define PIN_RUNS  16u	/* addresses that are gathered without memory of their own */
#define PIN_TRIES 1000u /* holes that somebody else punches again and again */

/* ---- taking */

struct pin_call {
	struct hf_file *file;
	struct pin_req req;
	char tag[PIN_TAG_MAX];
	struct pin_lease lease;
	hf_pin_id id;
};

static int lease_options(struct hf_volume *vol, const struct hf_lease_options *opts,
			 struct pin_lease *out)
{
	struct hf_lease_options o;
	int err = enter_options(&o, sizeof(o), opts);

	if (err)
		return err;
	if (!o.fn)
		return err_set(-EINVAL, "lease: there is no function to call");
	*out =
	    (struct pin_lease){.fn = o.fn, .ctx = o.ctx, .vol = vol, .deadline_ns = o.deadline_ns};
	return 0;
}

static int pin_options(struct pin_call *c, const struct hf_pin_options *opts)
{
	struct hf_pin_options o;
	int err = enter_options(&o, sizeof(o), opts);

	static_assert((int)HF_PIN_WRITE == (int)PIN_WRITE && (int)HF_PIN_ALLOC == (int)PIN_ALLOC,
		      "");
	if (err)
		return err;
	if (o.flags & ~PIN_KNOWN)
		return err_set(-EINVAL, "pin: unknown flags %#x", o.flags & ~PIN_KNOWN);
	c->req.flags = o.flags;
	if (o.tag) {
		memcpy(c->tag, o.tag, strnlen(o.tag, sizeof(c->tag) - 1));
		c->req.tag = c->tag;
	}
	if (o.lease) {
		err = lease_options(c->file->vol, o.lease, &c->lease);
		c->req.lease = &c->lease;
	}
	if (err)
		return err;
	/* Who stores, or makes blocks, changes the file. */
	return o.flags ? enter_file_change(c->file) : 0;
}

static int pin_fill(struct inode *in, uint64_t hole, uint64_t end)
{
	int err = alloc_check_space(in, hole, end);

	return err ? err : alloc_range(in, hole, end, data_size(in));
}

/* Inline content gets a block, a hole blocks of zeros. */
static int pin_make_block(struct pin_call *c, uint64_t hole)
{
	struct inode *in = c->req.in;
	uint64_t end = c->req.off + c->req.len;
	uint32_t ticket = gate_enter(&c->file->vol->gate);
	int err = 0;

	rwl_wrlock(&in->content);
	if (atomic_load_explicit(&in->dead, memory_order_relaxed))
		err = -ESTALE;
	else if (data_is_inline(in))
		err = resize_outgrow_inline(in);
	else if (!(c->req.flags & PIN_ALLOC))
		err = err_set(-ENODATA, "pin: there is a hole at %llu", (unsigned long long)hole);
	else if (end <= data_size(in))
		err = pin_fill(in, hole, end);
	rwl_wrunlock(&in->content);
	gate_leave(&c->file->vol->gate, ticket);
	return err;
}

static int pin_hole(struct pin_call *c, uint64_t hole)
{
	struct inode *in = c->req.in;
	bool inline_content;
	int err = 0;

	rwl_rdlock(&in->content);
	inline_content = data_is_inline(in);
	rwl_rdunlock(&in->content);
	if (!inline_content && !(c->req.flags & PIN_ALLOC))
		return err_set(-ENODATA, "pin: there is a hole at %llu", (unsigned long long)hole);
	if (inline_content)
		err = enter_file_change(c->file);
	if (!err)
		err = pin_make_block(c, hole);
	if (err == -ENOSPC && view_holes_reclaim(in->fs))
		err = pin_make_block(c, hole);
	return err;
}

static int pin_run(struct pin_call *c)
{
	uint64_t hole = 0;
	int ret = PIN_HOLE;

	for (unsigned tries = 0; ret == PIN_HOLE && tries < PIN_TRIES; tries++) {
		ret = pin_add(&c->file->vol->fs, &c->req, &c->id, &hole);
		if (ret == PIN_HOLE) {
			int err = pin_hole(c, hole);

			ret = err ? err : PIN_HOLE;
		}
	}
	return ret == PIN_HOLE ? err_set(-EAGAIN, "pin: the range is punched all the time") : ret;
}

/* ---- addresses */

struct pin_runs {
	struct pin_run few[PIN_RUNS], *run;
	size_t n;
};

static int runs_get(struct hf_volume *vol, hf_pin_id id, struct pin_runs *r)
{
	int err = pin_runs(&vol->fs, id, r->few, PIN_RUNS, &r->n);
	size_t room = r->n;

	r->run = r->few;
	if (err || r->n <= PIN_RUNS)
		return err;
	r->run = malloc(room * sizeof(*r->run));
	return r->run ? pin_runs(&vol->fs, id, r->run, room, &r->n) : -ENOMEM;
}

static void runs_drop(struct pin_runs *r)
{
	if (r->run != r->few)
		free(r->run);
}

static void runs_store(struct hf_volume *vol, const struct pin_runs *r, struct iovec *iov)
{
	for (size_t i = 0; i < r->n; i++)
		iov[i] =
		    (struct iovec){pm_at_mut(vol->fs.pm, r->run[i].at), (size_t)r->run[i].bytes};
}

/* -E2BIG: more than 'room'. *iovcnt is what there is. */
static int runs_deliver(struct hf_volume *vol, hf_pin_id id, struct iovec *iov, size_t *iovcnt)
{
	size_t room = *iovcnt;
	struct pin_runs r;
	int err = runs_get(vol, id, &r);

	if (!err) {
		*iovcnt = r.n;
		if (r.n > room)
			err =
			    err_set(-E2BIG, "the pin has %zu address ranges, there is room for %zu",
				    r.n, room);
		else
			runs_store(vol, &r, iov);
	}
	runs_drop(&r);
	return err;
}

static int runs_check(const struct iovec *iov, const size_t *iovcnt)
{
	if ((iov && !iovcnt) || (!iov && iovcnt && *iovcnt))
		return err_set(-EINVAL, "the array of addresses or its length is NULL");
	return 0;
}

/* ---- the calls */

static int pin_check(struct hf_file *file, uint64_t off, uint64_t len)
{
	if (len == 0)
		return err_set(-EINVAL, "pin: the range is empty");
	if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off || off + len > data_size(file->in))
		return err_set(-EINVAL, "pin: the range reaches beyond the end of file");
	return 0;
}

HF_API int hf_pin(hf_file *file, uint64_t off, uint64_t len, const struct hf_pin_options *opts,
		  struct iovec *iov, size_t *iovcnt, hf_pin_id *out)
{
	struct pin_call c = {.file = file, .req = {.off = off, .len = len}};
	int err = enter_file(file);

	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "pin: the out-parameter is NULL");
	*out = 0;
	err = runs_check(iov, iovcnt);
	if (!err)
		err = pin_options(&c, opts);
	if (!err)
		err = pin_check(file, off, len);
	if (err)
		return err;
	c.req.in = file->in;
	c.req.name = file->name;
	err = pin_run(&c);
	if (!err && iovcnt) {
		err = runs_deliver(file->vol, c.id, iov, iovcnt);
		if (err == -EINVAL)
			err = err_set(-ECANCELED, "the lease's callback has unpinned it already");
		else if (err)
			pin_drop(&file->vol->fs, c.id);
	}
	if (!err)
		*out = c.id;
	return (int)enter_leave_handle(err, "pin");
}

HF_API int hf_unpin(hf_volume *vol, hf_pin_id pin)
{
	int err = enter_volume_to_leave(vol);

	if (err)
		return err;
	err = pin_drop(&vol->fs, pin);
	volume_let_go(vol);
	return (int)enter_leave(err, "unpin");
}

HF_API int hf_pin_persist(hf_volume *vol, hf_pin_id pin, uint64_t off, uint64_t len)
{
	VOLUME_CALL(vol);
	int err = enter_volume(vol);

	return err ? err : (int)enter_leave(pin_persist(&vol->fs, pin, off, len), "pin_persist");
}

HF_API int hf_pin_take(hf_volume *vol, hf_pin_id pin)
{
	VOLUME_CALL(vol);
	int err = enter_volume(vol);

	return err ? err : (int)enter_leave(pin_take(&vol->fs, pin), "pin_take");
}

HF_API int hf_pin_iov(hf_volume *vol, hf_pin_id pin, struct iovec *iov, size_t *iovcnt)
{
	VOLUME_CALL(vol);
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!iovcnt)
		return err_set(-EINVAL, "pin_iov: the length is NULL");
	err = runs_check(iov, iovcnt);
	if (!err)
		err = runs_deliver(vol, pin, iov, iovcnt);
	return (int)enter_leave(err, "pin_iov");
}

HF_API int hf_lease(hf_volume *vol, hf_pin_id pin, const struct hf_lease_options *opts)
{
	VOLUME_CALL(vol);
	struct pin_lease how;
	int err = enter_volume(vol);

	if (!err)
		err = lease_options(vol, opts, &how);
	if (err)
		return err;
	return (int)enter_leave(pin_lease(&vol->fs, pin, &how), "lease");
}

/* ---- waiting. A forced volume stays until they are out. */

HF_API int hf_wait_idle(hf_file *file, uint64_t timeout_ns)
{
	int err = enter_file(file);

	if (err)
		return err;
	err = pin_wait_idle(&file->vol->fs, file->in, timeout_ns);
	return (int)enter_leave(err, "wait_idle");
}

HF_API int hf_wait_idle_volume(hf_volume *vol, uint64_t timeout_ns)
{
	VOLUME_CALL(vol);
	int err = enter_volume(vol);

	return err ? err : (int)enter_leave(pin_wait_idle(&vol->fs, NULL, timeout_ns), "wait_idle_volume");
}

HF_API int hf_release_orphaned(hf_volume *vol, uint64_t *n)
{
	VOLUME_CALL(vol);
	uint64_t released;
	int err = enter_volume(vol);

	if (n)
		*n = 0;
	if (err)
		return err;
	released = pin_release_orphans(&vol->fs);
	if (n)
		*n = released;
	return 0;
}
