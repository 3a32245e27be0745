/* What the files of the name operations share; nothing outside src/dir includes it.
 *
 * How an operation locks (docs/LOCKING.md): the contents of all its directories by number; then the layouts of those that are
 * known; then it looks up, with both held; then come the layouts of the inodes that it found. Those are tried for, which can
 * wait for nobody; where that fails, all layouts are let go and taken in order. What was looked up stays right meanwhile,
 * because it needs the contents to change (I-NAME-2). */
#ifndef HF_DIR_NAME_INT_H
#define HF_DIR_NAME_INT_H

#include "dir/name.h"
#include "inode/orphan.h"

#include <string.h>

/* Something changed since the unlocked lookup, or more locks are needed: once more from the start. */
enum { NAME_AGAIN = 1 };

/* DT_* of an S_IFMT type. */
static inline uint8_t name_dt(uint32_t type)
{
	return (uint8_t)((type & S_IFMT) >> 12);
}
static inline bool name_is_dir(const struct inode *in)
{
	return in->type == S_IFDIR;
}
static inline bool name_is_dot(const char *name)
{
	return name[0] == '.' && name[1] == '\0';
}
static inline bool name_is_dotdot(const char *name)
{
	return name[0] == '.' && name[1] == '.' && name[2] == '\0';
}
/* ".", ".." or the root's "". */
static inline bool name_is_special(const char *name)
{
	return name[0] == '\0' || name_is_dot(name) || name_is_dotdot(name);
}
int name_measure(const char *name, unsigned *len);
/* What every change begins with: the volume can be written to, dir is a directory, the name can be one. */
int name_check_change(struct inode *dir, const char *name, unsigned *len);
/* -ENOENT for a directory that was removed. One of its locks held. */
int name_check_alive(const struct inode *dir);
/* The inode of an entry of dir, with a reference. One of dir's locks held, so that the entry holds the inode. */
int name_get(struct inode *dir, inum_t ino, uint8_t type, struct inode **out);
/* Looks p[0..len) up in 'at' ("." and ".." too). */
int name_step(struct inode *at, const char *p, unsigned len, struct inode **out);
/* A symlink's target, NUL-terminated; buf has NAME_PATH_MAX + 1 bytes. */
int name_target(struct inode *in, char *buf, unsigned *len);

static inline uint32_t name_nlink(const struct inode *in)
{
	return le32_get(inode_media(in)->nlink);
}
/* Changes an image's link count. */
static inline void name_nlink_add(struct inode_edit *e, int32_t n)
{
	e->img.nlink = le32_of(le32_get(e->img.nlink) + (uint32_t)n);
}

/* ---- layouts */
struct name_layouts {
	struct inode *in[6];
	unsigned n;
};
/* All contents that the operation needs are held. */
void name_layouts_take(struct name_layouts *l);
void name_layouts_drop(struct name_layouts *l);
/* One more, NULL and what is there already are skipped. */
void name_layouts_add(struct name_layouts *l, struct inode *in);

/* ---- an inode that loses a name, perhaps its last (name_remove.c) */
struct name_victim {
	struct inode *in;
	const char *name;	/* the one that it loses */
	unsigned len;
	struct name_how *how;	/* NULL: none */
	bool last;		/* no name is left */
	bool reap_now;		/* and it goes in the same transaction */
	bool no_reap;		/* that was tried and did not fit */
	bool content;		/* its content lock is held by name_victim_plan */
	bool own_content;	/* ... and by the operation, from before (a directory) */
	bool has_slot;		/* an orphan slot is reserved */
	uint32_t slot;
};
/* NAME_MOVED: it is not the one that the caller of the operation expects. v->in may be NULL. */
int name_victim_expected(const struct name_victim *v);
/* The ticket of a transaction that may free it. */
static inline uint32_t name_victim_ticket(const struct name_victim *v)
{
	return v->how ? v->how->ticket : 0;
}
/* Decides how it goes. Its layout is held. */
int name_victim_plan(struct name_victim *v);
/* Adds it to t: one link less (a directory: none left), its ctime, and its end if it is the last. */
int name_victim_drop(struct name_victim *v, struct txn *t, int64_t now);
/* After the commit or the abort, layouts still held or not: lets go of its content. */
void name_victim_unlock(struct name_victim *v);
/* Without locks. err: how the operation ended. Frees what is left of it, or hands it back. */
void name_victim_end(struct name_victim *v, int err);

#endif
