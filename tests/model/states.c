#include "states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES  ((size_t)4 << 20)
#define CHUNKS_MAX   1024
#define HEADER_BYTES 7 /* parent 4, action 2, length 1 */

struct states {
	uint8_t *chunks[CHUNKS_MAX];
	size_t chunk_count;
	size_t chunk_used;
	uint8_t **entries; /* by index */
	uint32_t count;
	uint32_t entries_size;
	uint32_t *slots; /* open addressing; index + 1, 0 = empty */
	uint32_t slots_size;
	size_t limit_bytes;
};

static _Noreturn void give_up(const char *why)
{
	fprintf(stderr, "model: %s: the search is not complete and says nothing\n", why);
	exit(2);
}

static uint64_t hash_bytes(const uint8_t *bytes, uint8_t len)
{
	uint64_t h = 0x9e3779b97f4a7c15u ^ len;
	uint64_t w;
	size_t i = 0;

	while (i < len) {
		size_t n = len - i < 8 ? (size_t)len - i : 8;

		w = 0;
		memcpy(&w, bytes + i, n);
		h = (h ^ w) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
		i += n;
	}
	h *= 0xc4ceb9fe1a85ec53u;
	return h ^ (h >> 29);
}

static void *grow(void *old, size_t bytes)
{
	void *p = realloc(old, bytes);

	if (p == NULL)
		give_up("out of memory");
	return p;
}

struct states *states_new(size_t limit_bytes)
{
	struct states *set = calloc(1, sizeof(*set));

	if (set == NULL)
		give_up("out of memory");
	set->limit_bytes = limit_bytes;
	set->entries_size = 1u << 12;
	set->entries = grow(NULL, set->entries_size * sizeof(set->entries[0]));
	set->slots_size = 1u << 13;
	set->slots = calloc(set->slots_size, sizeof(set->slots[0]));
	if (set->slots == NULL)
		give_up("out of memory");
	return set;
}

void states_delete(struct states **set)
{
	if (*set == NULL)
		return;
	for (size_t i = 0; i < (*set)->chunk_count; i++)
		free((*set)->chunks[i]);
	free((*set)->entries);
	free((*set)->slots);
	free(*set);
	*set = NULL;
}

size_t states_bytes(const struct states *set)
{
	return set->chunk_count * CHUNK_BYTES + set->entries_size * sizeof(set->entries[0]) +
	       set->slots_size * sizeof(set->slots[0]);
}

static uint8_t *entry_alloc(struct states *set, size_t bytes)
{
	uint8_t *p;

	if (set->chunk_count == 0 || set->chunk_used + bytes > CHUNK_BYTES) {
		if (set->chunk_count == CHUNKS_MAX || states_bytes(set) > set->limit_bytes)
			give_up("state limit reached");
		set->chunks[set->chunk_count] = grow(NULL, CHUNK_BYTES);
		set->chunk_count++;
		set->chunk_used = 0;
	}
	p = set->chunks[set->chunk_count - 1] + set->chunk_used;
	set->chunk_used += bytes;
	return p;
}

static void slots_grow(struct states *set)
{
	uint32_t size = set->slots_size * 2;
	uint32_t *slots = calloc(size, sizeof(slots[0]));

	if (slots == NULL)
		give_up("out of memory");
	for (uint32_t i = 0; i < set->count; i++) {
		const uint8_t *e = set->entries[i];
		uint32_t at = (uint32_t)hash_bytes(e + HEADER_BYTES, e[6]) & (size - 1);

		while (slots[at] != 0)
			at = (at + 1) & (size - 1);
		slots[at] = i + 1;
	}
	free(set->slots);
	set->slots = slots;
	set->slots_size = size;
}

bool states_add(struct states *set, const uint8_t *bytes, uint8_t len, uint32_t parent,
		uint16_t action)
{
	uint32_t at = (uint32_t)hash_bytes(bytes, len) & (set->slots_size - 1);
	uint8_t *e;

	while (set->slots[at] != 0) {
		e = set->entries[set->slots[at] - 1];
		if (e[6] == len && memcmp(e + HEADER_BYTES, bytes, len) == 0)
			return false;
		at = (at + 1) & (set->slots_size - 1);
	}
	e = entry_alloc(set, HEADER_BYTES + (size_t)len);
	memcpy(e, &parent, 4);
	memcpy(e + 4, &action, 2);
	e[6] = len;
	memcpy(e + HEADER_BYTES, bytes, len);
	if (set->count == set->entries_size) {
		set->entries_size *= 2;
		set->entries = grow(set->entries, set->entries_size * sizeof(set->entries[0]));
	}
	set->entries[set->count] = e;
	set->count++;
	set->slots[at] = set->count;
	if (set->count > set->slots_size / 2)
		slots_grow(set);
	return true;
}

struct states_entry states_get(const struct states *set, uint32_t index)
{
	const uint8_t *e = set->entries[index];
	struct states_entry out;

	out.bytes = e + HEADER_BYTES;
	out.len = e[6];
	memcpy(&out.parent, e, 4);
	memcpy(&out.action, e + 4, 2);
	return out;
}

uint32_t states_count(const struct states *set)
{
	return set->count;
}
