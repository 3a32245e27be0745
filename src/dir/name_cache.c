#include "dir/name_cache.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_WORDS = NAME_CACHE_LEN / 8, NAMES_FIRST = 64, NAMES_USUAL = 65536, NAMES_MAX = 1 << 24 };

/* All words are atomic. A reader's loads acquire and a writer's stores release: a reader that saw a word of a change finds
 * another 'state' when it looks at that again. */
struct name_line {
	_Atomic uint64_t state;			/* type << 32 | sequence number, odd while the line is changed */
	_Atomic uint64_t dir;			/* 0: empty */
	_Atomic uint64_t ino, gen;
	_Atomic uint64_t name[NAME_WORDS];	/* padded with zeros: no name has any, so its length needs no place */
};
static_assert(sizeof(struct name_line) == HF_LINE, "");

struct name_cache {
	uint64_t seed;
	uint32_t mask;
	struct name_line *lines;	/* within 'memory', aligned */
	void *memory;
};

struct name_key {
	uint64_t dir;
	uint64_t name[NAME_WORDS];
};

static uint64_t load(const _Atomic uint64_t *w)
{
	return atomic_load_explicit(w, memory_order_acquire);
}

static void store(_Atomic uint64_t *w, uint64_t v)
{
	atomic_store_explicit(w, v, memory_order_release);
}

int name_cache_open(struct fs *fs, uint32_t names)
{
	struct name_cache *c = calloc(1, sizeof(*c));
	uint32_t lines = NAMES_FIRST;

	fs->names = NULL;
	while (lines < (names ? names : NAMES_USUAL) && lines < NAMES_MAX)
		lines *= 2;
	if (c)
		c->memory = calloc(lines + 1, sizeof(c->lines[0]));	/* from the kernel, zeroed and untouched */
	if (!c || !c->memory) {
		free(c);
		return err_set(-ENOMEM, "name cache: no memory for %u names", lines);
	}
	c->lines = (void *)round_up_u64((uintptr_t)c->memory, HF_LINE);
	c->mask = lines - 1;
	c->seed = hash_mix(fs->geo.seed);
	fs->names = c;
	return 0;
}

void name_cache_close(struct fs *fs)
{
	if (fs->names)
		free(fs->names->memory);
	free(fs->names);
	fs->names = NULL;
}

/* NULL: it is not kept. */
static struct name_line *line_of(const struct fs *fs, inum_t dir, const char *name, unsigned len, struct name_key *key)
{
	const struct name_cache *c = fs->names;
	uint64_t h;

	if (!c || len > NAME_CACHE_LEN)
		return NULL;
	h = c->seed ^ dir.v;
	key->dir = dir.v;
	memset(key->name, 0, sizeof(key->name));
	memcpy(key->name, name, len);
	for (unsigned i = 0; 8 * i < len; i++)
		h = hash_mix2(h, key->name[i]);
	return &c->lines[h & c->mask];
}

static bool line_is(const struct name_line *l, const struct name_key *key)
{
	uint64_t differ = load(&l->dir) ^ key->dir;

	for (unsigned i = 0; i < NAME_WORDS; i++)
		differ |= load(&l->name[i]) ^ key->name[i];
	return differ == 0;
}

bool name_cache_get(const struct fs *fs, inum_t dir, const char *name, unsigned len, struct name_hit *out)
{
	struct name_key key;
	const struct name_line *l = line_of(fs, dir, name, len, &key);
	uint64_t state;

	if (!l)
		return false;
	state = load(&l->state);
	if (state & 1 || !line_is(l, &key))
		return false;
	out->ino = INUM(load(&l->ino));
	out->gen = load(&l->gen);
	out->type = (uint32_t)(state >> 32);
	out->line = l;
	out->state = state;
	return name_cache_still(out);
}

bool name_cache_still(const struct name_hit *hit)
{
	const struct name_line *l = hit->line;

	return load(&l->state) == hit->state;
}

/* Makes the line's number odd. */
static bool line_claim(struct name_line *l, uint64_t *state)
{
	*state = load(&l->state);
	return !(*state & 1) &&
	       atomic_compare_exchange_strong_explicit(&l->state, state, *state + 1, memory_order_acquire, memory_order_relaxed);
}

/* The next even number, and the type. A number that ran over its 32 bits would have to do so while a reader reads eight words. */
static void line_release(struct name_line *l, uint64_t state, uint32_t type)
{
	store(&l->state, (uint64_t)type << 32 | (uint32_t)(state + 2));
}

void name_cache_put(const struct fs *fs, inum_t dir, const char *name, unsigned len, const struct inode *in)
{
	struct name_key key;
	struct name_line *l = line_of(fs, dir, name, len, &key);
	uint64_t state;

	if (!l || !line_claim(l, &state))
		return;
	store(&l->dir, dir.v);
	store(&l->ino, in->ino.v);
	store(&l->gen, in->gen);
	for (unsigned i = 0; i < NAME_WORDS; i++)
		store(&l->name[i], key.name[i]);
	line_release(l, state, in->type);
}

/* Whoever has the line is filling it for another name, for this one's directory is locked: it is over soon, and then the line is
 * not this name's. */
void name_cache_drop(const struct fs *fs, inum_t dir, const char *name, unsigned len)
{
	struct name_key key;
	struct name_line *l = line_of(fs, dir, name, len, &key);
	uint64_t state;

	if (!l)
		return;
	if (load(&l->dir) != dir.v && !(load(&l->state) & 1))
		return;
	while (!line_claim(l, &state))
		lock_yield();
	if (line_is(l, &key))
		store(&l->dir, 0);
	line_release(l, state, (uint32_t)(state >> 32));
}
