/* A caller's iovec array, copied in before the first lock: without empty buffers, cut to what one
 * call takes. */
#ifndef HF_FILE_IOV_H
#define HF_FILE_IOV_H

#include "file/volume.h"
#include <sys/uio.h>

#define IOV_SMALL 8

struct iov_copy {
	struct iovec *iov; /* 'small', or from the heap */
	unsigned n;
	uint64_t bytes;
	struct iovec small[IOV_SMALL];
};
/* -EINVAL: NULL, a count below 0 or above 1024, more than SSIZE_MAX bytes. -ENOMEM. */
int iov_copy_in(struct iov_copy *c, const struct iovec *from, int n);
void iov_copy_free(struct iov_copy *c);

#endif
