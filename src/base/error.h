/* Errors: every fallible function returns 0 (or a count) or a negative errno; the sentence for the last failure
 * of this thread is kept here. HF_ASSERT is for programmer errors, never for what was read from media. */
#ifndef HF_BASE_ERROR_H
#define HF_BASE_ERROR_H

#include <errno.h>

/* Keeps the sentence for this thread and returns err (a negative errno), so that one can write
 * 'return err_set(-EUCLEAN, "inode %llu: ...", ...)'. The sentence says what to do where something can be done. */
int err_set(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "prefix: " before the sentence that is kept; returns err. */
int err_prefix(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The sentence; "" when none. Valid until the next failure in this thread. */
const char *err_msg(void);
void err_clear(void);

void hf_assert_fail(const char *expr, const char *file, int line) __attribute__((noreturn, cold));
#define HF_ASSERT(x) ((x) ? (void)0 : hf_assert_fail(#x, __FILE__, __LINE__))

#endif
