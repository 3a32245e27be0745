#include "file/names.h"
#include "file/how.h"

/* One call: unlink has no newdir. */
struct names {
	struct inode *dir, *newdir;
	const char *name, *newname;
	unsigned flags;
	struct how how;
	struct name_how below;
};

/* What a name stands for, if it can be a file that is about to go. Why it cannot be found is for
 * the operation itself to tell. */
static struct inode *names_victim(struct names *c)
{
	struct inode *in = NULL;
	int err;

	if (c->flags & NAME_EXCHANGE)
		return NULL;
	err =
	    c->newdir ? name_lookup(c->newdir, c->newname, &in) : name_lookup(c->dir, c->name, &in);
	if (err)
		err_clear();
	return err ? NULL : in;
}

/* Modes other than HF_PINNED_DELAY look at the file before: not under the operation's locks, so the
 * one that waits has it checked there that it is still the same. */
static int names_look(struct names *c)
{
	struct name_how *b = &c->below;
	int ret = 0;

	if (c->how.pinned == HF_PINNED_DELAY)
		return 0;
	b->ticket = c->how.ticket;
	b->fail_if_pinned = c->how.pinned == HF_PINNED_FAIL;
	b->only_expected = c->how.pinned == HF_PINNED_WAIT && !(c->flags & NAME_EXCHANGE);
	b->expected = names_victim(c);
	if (!b->expected || !S_ISREG(b->expected->type))
		return 0;
	if (b->fail_if_pinned)
		return how_ask(&c->how, b->expected, (struct how_range){FBLK(0), UINT64_MAX});
	ret = pin_own(b->expected, FBLK(0), UINT64_MAX);
	b->fail_if_last = ret > 0;
	return ret < 0 ? ret : 0;
}

/* What is left has lost its name for good: that it cannot be freed now is no failure. */
static int names_gated(struct names *c)
{
	struct gate *g = &volume_of(c->dir->fs)->gate;
	uint32_t ticket = gate_enter(g);
	int err;

	if (c->newdir)
		err = name_rename(c->dir, c->name, c->newdir, c->newname, c->flags, &c->below);
	else
		err = name_unlink(c->dir, c->name, &c->below);
	if (c->below.left) {
		(void)how_reap(&c->how, c->below.left);
		inode_put(c->below.left);
	}
	gate_leave(g, ticket);
	return err;
}

static int names_turn(struct names *c)
{
	int err;

	c->below = (struct name_how){0};
	err = names_look(c);
	if (!err)
		err = names_gated(c);
	inode_put(c->below.expected);
	return err;
}

/* Each turn more takes a rename or an unlink by somebody else. */
static int names_run(struct names *c, const struct hf_how *how)
{
	int err = how_open(&c->how, c->dir->fs, how);

	if (err)
		return err;
	do {
		err = names_turn(c);
	} while (err == NAME_MOVED);
	return how_close(&c->how, err);
}

int names_unlink(struct inode *dir, const char *name, const struct hf_how *how)
{
	struct names c = {.dir = dir, .name = name};

	return names_run(&c, how);
}

int names_rename(struct inode *olddir, const char *oldname, struct inode *newdir,
		 const char *newname, unsigned flags, const struct hf_how *how)
{
	struct names c = {
	    .dir = olddir, .name = oldname, .newdir = newdir, .newname = newname, .flags = flags};

	return names_run(&c, how);
}
