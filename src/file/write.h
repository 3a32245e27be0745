/* Writing file content, for hf_pwrite and for copying between files. */
#ifndef HF_FILE_WRITE_H
#define HF_FILE_WRITE_H

#include "file/data.h"
#include <sys/uio.h>

/* Where the bytes come from: the caller's buffers (which may fault), or the media of another file.
 */
struct write_src {
	const struct iovec *iov;
	size_t skip; /* bytes of iov[0] that are taken */
	bool whole;  /* a buffer that faults ends the write with -EFAULT, not with a part of it */
};

/* Content exclusive, the gate passed. The bytes written: fewer than len only when something failed
 * after a part that is durable; or the error. off + len <= FILE_SIZE_MAX. */
int64_t write_locked(struct inode *in, const struct write_src *src, uint64_t off, uint64_t len);

#endif
