#include "file/iov.h"

#include <limits.h>
#include <stdlib.h>

static int iov_add(struct iov_copy *c, const struct iovec *v)
{
	uint64_t take = min_u64(v->iov_len, FILE_IO_MAX - c->bytes);

	if (v->iov_len > (uint64_t)SSIZE_MAX)
		return err_set(-EINVAL, "an iovec asks for more than a count can tell");
	if (take == 0)
		return 0;
	if (!v->iov_base)
		return err_set(-EINVAL, "an iovec has no buffer");
	c->iov[c->n++] = (struct iovec){.iov_base = v->iov_base, .iov_len = take};
	c->bytes += take;
	return 0;
}

int iov_copy_in(struct iov_copy *c, const struct iovec *from, int n)
{
	int err = 0;

	c->iov = c->small;
	c->n = 0;
	c->bytes = 0;
	if (n < 0 || n > IOV_MAX || (n > 0 && !from))
		return err_set(-EINVAL, "an iovec array of %d entries", n);
	if (n > IOV_SMALL)
		c->iov = malloc((size_t)n * sizeof(c->iov[0]));
	if (!c->iov)
		return -ENOMEM;
	for (int i = 0; i < n && !err; i++)
		err = iov_add(c, &from[i]);
	if (err)
		iov_copy_free(c);
	return err;
}

void iov_copy_free(struct iov_copy *c)
{
	if (c->iov != c->small)
		free(c->iov);
	c->iov = c->small;
}
