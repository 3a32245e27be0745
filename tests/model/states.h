/*
 * The set of states that a model has visited, in the order they were found, each with the state and
 * the action it came from. Walking the numbers upwards is a breadth-first search, so the first
 * violation has a shortest trace.
 */
#ifndef MODEL_STATES_H
#define MODEL_STATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATES_NONE    UINT32_MAX
#define STATES_LEN_MAX 255

struct states;

struct states_entry {
	const uint8_t *bytes;
	uint8_t len;
	uint32_t parent;
	uint16_t action;
};

/* Never returns NULL: a model that runs out of memory has proved nothing and must stop. */
struct states *states_new(size_t limit_bytes);
void states_delete(struct states **set);

/* Returns true if the state was not there. The parent and action of the first sight are kept. */
bool states_add(struct states *set, const uint8_t *bytes, uint8_t len, uint32_t parent,
		uint16_t action);

struct states_entry states_get(const struct states *set, uint32_t index);
uint32_t states_count(const struct states *set);
size_t states_bytes(const struct states *set);

#endif
