/* Buffers of the caller that lie in a view (rule T8).
 *
 * A guarded copy never resolves a fault, for its thread holds the locks of a file, and the page may
 * be the same file's, or that of one whose writer waits for this one. It fails; all locks are let
 * go; the pages are made accessible as a touch would; the call is made once more. Somebody may
 * revoke them each time: after USER_BUFFER_ROUNDS the bytes go through memory of the library's own,
 * which is filled and emptied without locks.
 *
 * All of this without locks held, and outside the gate. */
#ifndef HF_FILE_USER_BUFFER_H
#define HF_FILE_USER_BUFFER_H

#include "base/types.h"
#include <sys/uio.h>

#define USER_BUFFER_ROUNDS 2

/* The first len bytes of the buffers, without the first 'skip'. */
struct user_buffer {
	const struct iovec *iov;
	uint64_t skip, len;
};

/* Does it touch the arena? Then a fault may be a matter of mapping a page. */
bool user_buffer_in_view(const struct user_buffer *b);
/* Maps what lies in views. 0, or -EFAULT with a sentence. */
int user_buffer_populate(const struct user_buffer *b, bool store);
/* Copies to or from memory of the library's own; returns the bytes that went well, fewer than
 * b->len only where the buffer cannot be accessed, with a sentence. */
uint64_t user_buffer_fetch(const struct user_buffer *b, void *to);
uint64_t user_buffer_store(const struct user_buffer *b, const void *from);

#endif
