/* One image: recovery, then the questions. */
#include "crash/explore.h"

#include <stdarg.h>

enum { FINDINGS_SHOWN = 4 };

void judge_say(struct explorer *x, const char *fmt, ...)
{
	size_t n = strlen(x->text);
	va_list ap;

	if (n > 0 && n + 1 < sizeof(x->text)) {
		x->text[n++] = '\n';
		x->text[n] = 0;
	}
	va_start(ap, fmt);
	vsnprintf(x->text + n, sizeof(x->text) - n, fmt, ap);
	va_end(ap);
}

static void on_finding(void *ctx, const struct hf_finding *f)
{
	judge_say(ctx, "check: %s: %s", f->structure, f->text);
}

static bool judge_structures(struct explorer *x)
{
	struct hf_check_options opts = {.struct_size = sizeof(opts),
					.ctx = x,
					.finding = on_finding,
					.max_findings = FINDINGS_SHOWN};
	struct hf_check_result res;
	int err = hf_check_mounted(x->check.vol, &opts, &res);

	if (err)
		judge_say(x, "the check could not be done: %s", err_msg());
	return !err && res.findings == 0;
}

static bool judge_recovery(struct explorer *x)
{
	int err = 0;

	if (!x->o.raw) {
		err = hf_crash_media_mount(x->copy, &x->check.vol);
		if (err)
			judge_say(x, "it does not mount: %s (%s)", err_msg(), strerror(-err));
	} else if (x->o.recover) {
		err = x->o.recover(&x->check);
		if (err && !x->text[0])
			judge_say(x, "recovery failed: %d", err);
	}
	return err == 0;
}

static bool judge_close(struct explorer *x)
{
	int err = volume_close(x->check.vol);

	x->check.vol = NULL;
	if (err)
		judge_say(x, "it does not unmount: %s", err_msg());
	return err == 0;
}

/* With a page that cannot be read: the mount says so, or the check finds right what can be read. What is closed may have met it. */
static bool judge_bad(struct explorer *x)
{
	int err = hf_crash_media_mount(x->copy, &x->check.vol);
	bool ok = err == 0 || err == -EIO;

	if (!ok)
		judge_say(x, "with a bad page it does not mount, and not for -EIO: %s (%s)", err_msg(), strerror(-err));
	if (err)
		return ok;
	if (x->o.check) {
		err = x->o.check(&x->check);
		if (err && !x->text[0])
			judge_say(x, "the check returned %d", err);
		ok = err == 0;
	}
	err = volume_close(x->check.vol);
	x->check.vol = NULL;
	if (err && err != -EIO && err != -ESHUTDOWN) {
		judge_say(x, "it does not unmount: %s", err_msg());
		return false;
	}
	return ok;
}

bool judge(struct explorer *x)
{
	bool ok;
	int err;

	x->text[0] = 0;
	x->recovery_point = 0;
	if (x->bad) {
		x->copy->light = true;
		return judge_bad(x);
	}
	x->copy->light = !x->look;
	ok = judge_recovery(x);
	/* Power may fail when recovery is over, too. */
	if (ok && x->copy->on_fence)
		x->copy->on_fence(x, x->copy);
	x->copy->light = true;
	if (ok && x->check.vol)
		ok = judge_structures(x);
	if (ok && x->o.check) {
		err = x->o.check(&x->check);
		if (err && !x->text[0])
			judge_say(x, "the check returned %d", err);
		ok = err == 0;
	}
	if (x->check.vol && !judge_close(x))
		ok = false;
	return ok;
}
