/* One of each operation, on a small tree that is always the same: what is tried on a full volume,
 * without memory, and with a medium that fails. */
#ifndef HF_TESTS_OPSET_H
#define HF_TESTS_OPSET_H

#include <holdfast.h>

enum opset_flags {
	OPSET_FREES = 1, /* takes away: has to work on a full volume */
	OPSET_DATA = 2,	 /* plain data: a failure may leave some of it */
	OPSET_READS = 4, /* changes nothing */
};
struct opset_op {
	const char *name;
	int64_t (*fn)(hf_volume *vol); /* >= 0, or the error */
	unsigned flags;
};
extern const struct opset_op opset_ops[];
extern const unsigned opset_count;

/* The tree that the operations work on; about 5 MiB. */
int opset_tree(hf_volume *vol);
/* A number for all that can be seen of the volume but times and /fill; 0: something could not be
 * read. */
uint64_t opset_snapshot(hf_volume *vol);
/* Everything goes. 0 or the error of the first that would not. */
int opset_empty(hf_volume *vol);
/* Free plus busy blocks. */
uint64_t opset_room(hf_volume *vol);
/* The findings of hf_check_mounted, printed; -1: it could not be done. */
int opset_findings(hf_volume *vol);

#endif
