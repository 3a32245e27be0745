/* Open files and directories, all in a list: a mount that ends before its users do (SIGTERM, the kernel's abort) closes what they have
 * left, so that files without a name are freed and the volume is unmounted in order. */
#include "mount.h"
#include <errno.h>
#include <stdlib.h>

static int handle_end(struct handle *h)
{
	int err = h->file ? hf_close(&h->file) : hf_closedir(&h->dir);

	free(h);
	return err;
}

int handle_new(struct mount *m, hf_file *file, hf_dir *dir, struct fuse_file_info *fi)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h) {
		(void)(file ? hf_close(&file) : hf_closedir(&dir));
		return -ENOMEM;
	}
	h->file = file;
	h->dir = dir;
	pthread_mutex_lock(&m->lock);
	h->next = m->handles;
	if (h->next)
		h->next->prev = h;
	m->handles = h;
	pthread_mutex_unlock(&m->lock);
	fi->fh = (uintptr_t)h;
	return 0;
}

int handle_close(struct mount *m, struct handle *h)
{
	pthread_mutex_lock(&m->lock);
	if (h->next)
		h->next->prev = h->prev;
	if (h->prev)
		h->prev->next = h->next;
	else
		m->handles = h->next;
	pthread_mutex_unlock(&m->lock);
	return handle_end(h);
}

void handle_close_all(struct mount *m)
{
	struct handle *h = m->handles, *next;

	for (m->handles = NULL; h; h = next) {
		next = h->next;
		(void)handle_end(h);
	}
}
