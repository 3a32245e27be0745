/* Which inodes with several names were met, and under which name first: hard links stay hard links. */
#ifndef HF_TOOLS_LINKS_H
#define HF_TOOLS_LINKS_H

#include <stddef.h>
#include <stdint.h>

struct links {
	struct links_entry *slot;	/* open addressing, a power of two */
	size_t size, used;
};
/* The name kept for (a, b), or NULL. */
const char *links_find(const struct links *l, uint64_t a, uint64_t b);
/* Keeps a copy of name. -ENOMEM. */
int links_add(struct links *l, uint64_t a, uint64_t b, const char *name);
void links_free(struct links *l);

#endif
