/* Is the volume what the model is? */
#ifndef HF_TESTS_VERIFY_H
#define HF_TESTS_VERIFY_H

#include "op.h"

struct verify {
	struct real *r;
	struct m_inode *in_flight; /* its size and bytes are not compared; NULL: none */
	bool crashed;		   /* what a crash may lose is not compared: times */
	char text[1024];	   /* the first difference */
	uint8_t *a, *b;		   /* buffers of OP_LEN_MAX, the caller's */
};

/* Everything: names, attributes, content, holes, extended attributes, statfs. 0, or 1 and v->text.
 * Learns the library's numbers of inodes that were not seen yet, and the times. */
int verify_all(struct verify *v, struct model *m);
/* One inode by the path (or handle) that leads to it. */
int verify_inode(struct verify *v, struct model *m, struct m_inode *in, const char *path);
int verify_stat(struct verify *v, struct model *m, struct m_inode *in, const struct hf_stat *st,
		const char *where);
/* A regular file's bytes and holes. */
int verify_content(struct verify *v, struct m_inode *in, const char *where);
/* hf_check_mounted or, with a path, hf_check finds nothing. */
int verify_check(struct verify *v, hf_volume *vol, const char *path, struct hf_check_result *res);
/* For a data operation that failed or was cut short: each unit of 'unit' bytes (aligned) of [off,
 * off+len) is old or new; then the model gets what is there. */
int verify_adopt(struct verify *v, struct model *m, struct m_inode *in, hf_file *file,
		 const uint8_t *old, const uint8_t *new, uint64_t off, uint64_t len, unsigned unit);

#endif
