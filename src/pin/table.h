/* The table of pins: records of fixed size in a file that others may read, and that outlives its
 * process.
 *
 * The file is in the runtime directory: $HOLDFAST_RUNTIME_DIR, or /run/holdfast, or
 * /dev/shm/holdfast-UID, whichever is the first that can be written; its name is the volume's
 * device and inode number. It begins with a header of one page; record i (from 1 on) is at
 * PINS_HEAD_BYTES + (i - 1) * sizeof(struct pins_rec).
 *
 * A record is published before its blocks are counted and unpublished after they are dropped
 * (I-PIN-5): whenever the process is killed, each counted block has a record. All words are stored
 * and loaded atomically; 'state' is stored last (release) and is loaded before and after the others
 * by who owns no reference: when it has not changed, what was read belongs together (I-PIN-6).
 *
 * Nothing in the file is trusted: it is read with pread, bounds are checked, and a record that does
 * not check out is skipped. */
#ifndef HF_PIN_TABLE_H
#define HF_PIN_TABLE_H

#include "base/types.h"

#include <assert.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define PINS_MAGIC	 0x31306e6970666c68ull
#define PINS_VERSION	 1u
#define PINS_HEAD_BYTES	 4096u
#define PINS_TAG_BYTES	 32u
#define PINS_NAME_BYTES	 64u
#define PINS_INDEX_BITS	 24u
#define PINS_INDEX_MAX	 ((1u << 23) - 1)
#define PINS_CHUNK_MAX	 11u /* extents of a chunk */
#define PINS_EXTENTS_MAX (1u << 22)

struct pins_head {
	_Atomic uint64_t magic; /* stored last */
	uint32_t version, rec_bytes;
	uint8_t uuid[16];    /* of the volume */
	uint64_t pid, start; /* the owner, and when it started, in ticks since boot; 0: unmounted */
	_Atomic uint64_t used; /* records 1..used have been in use */
	char boot_id[40];
	char path[256];
};
static_assert(sizeof(struct pins_head) <= PINS_HEAD_BYTES, "");

enum pins_state {
	PINS_FREE,
	PINS_RESERVED, /* being filled, nothing counted */
	PINS_TAKING,   /* filled; blocks are being counted */
	PINS_LIVE,
	PINS_DROPPING,
	PINS_ORPHAN, /* of a dead owner; blocks counted one by one */
	PINS_CHUNK,  /* further extents of the pin that links to it */
};

enum pins_flags { PINS_WRITE = 1, PINS_ALLOC = 2, PINS_LEASED = 4 };

#define PINS_FRAMES (1ull << 63) /* in 'n': counted as whole frames */

struct pins_extent {
	uint64_t first; /* media block; of a frame if it counts frames */
	uint64_t n;	/* blocks, and PINS_FRAMES */
};

/* The words before 'state' of the same generation do not change while the record is published. */
struct pins_rec {
	uint64_t state; /* generation << PINS_INDEX_BITS | enum pins_state */
	uint64_t ino, gen;
	uint64_t off, len;	/* bytes, as asked for */
	uint64_t since_ns;	/* CLOCK_MONOTONIC */
	uint32_t flags;		/* enum pins_flags; changes */
	uint32_t thread;	/* gettid() of the owner, 0: nobody; changes */
	uint32_t next;		/* first chunk, 0: none */
	uint32_t nextents;	/* of the pin, those in chunks too */
	struct pins_extent ext; /* the first */
	char tag[PINS_TAG_BYTES], name[PINS_NAME_BYTES];
	uint64_t zero[2];
};
static_assert(sizeof(struct pins_rec) == 192, "");

struct pins_chunk {
	uint64_t state;
	uint32_t head; /* the record of the pin */
	uint32_t next;
	struct pins_extent ext[PINS_CHUNK_MAX];
};
static_assert(sizeof(struct pins_chunk) == sizeof(struct pins_rec), "");

#define PINS_WORDS (sizeof(struct pins_rec) / 8)

static inline enum pins_state pins_state_of(uint64_t state)
{
	return (enum pins_state)(state & ((1u << PINS_INDEX_BITS) - 1));
}
static inline uint64_t pins_state_make(uint64_t generation, enum pins_state s)
{
	return generation << PINS_INDEX_BITS | (uint64_t)s;
}
static inline uint64_t pins_generation(uint64_t state)
{
	return state >> PINS_INDEX_BITS;
}
static inline uint64_t pins_offset(uint32_t index)
{
	return PINS_HEAD_BYTES + (uint64_t)(index - 1) * sizeof(struct pins_rec);
}
static inline uint64_t pins_blocks(const struct pins_extent *x)
{
	return x->n & ~PINS_FRAMES;
}

/* ---- the file: path.c */

/* Opens, makes if need be (rights and owner are checked), the directory where this process
 * publishes. A descriptor, or a negative errno. */
int pins_dir_open(void);
/* The directories where the table of a volume that 'owner' has may be, one after the other: which
 * is 0, 1, 2; a descriptor, or -ENOENT at the end, or the error of this one. Makes nothing. */
int pins_dir_look(unsigned which, uid_t owner);
#define PINS_DIRS 3u
struct pins_file_name {
	char s[64];
};
void pins_file_name(const struct stat *volume, struct pins_file_name *out);
/* The kernel's random number of this boot; "" if there is none (then nothing can be known). */
void pins_boot_id(char out[40]);
/* When the process started; 0: there is none. */
uint64_t pins_start_of(uint64_t pid);

/* ---- reading another process's table: for 'holdfast busy' */

enum pins_owner_state {
	PINS_OWNER_ALIVE,
	PINS_OWNER_DEAD,  /* its pins will be orphaned at the next mount, if the machine is not
			     restarted before */
	PINS_OWNER_NONE,  /* unmounted; what is there are orphaned pins */
	PINS_OWNER_STALE, /* written before the machine was restarted, or for a volume that is there
			     no more: means nothing, no record is shown */
};
struct pins_owner {
	enum pins_owner_state state;
	uint64_t pid;
	char path[256]; /* how it named the volume */
};
struct pins_entry {
	uint64_t id, ino, gen, off, len, age_ns;
	uint32_t flags, thread;
	bool orphaned;
	char tag[PINS_TAG_BYTES], name[PINS_NAME_BYTES];
	const struct pins_extent
	    *ext; /* media blocks; those whose bit on the media is clear are busy */
	size_t n;
};
/* The table of the volume at 'device' (uuid as in its superblock; NULL: whatever it is), which of several is the first: the others
 * may have tables of what they were before. fn for each pin that is live; stops when it returns non-zero, and returns that. -ENOENT:
 * nothing is published; -EBADMSG: the file is damaged. */
int pins_table_read(const char *device, const uint8_t uuid[16], struct pins_owner *owner,
		    int (*fn)(void *ctx, const struct pins_entry *e), void *ctx);

#endif
