/* The C functions of the table, by file. */
#ifndef HF_TESTS_POSIX_FUNCTIONS_H
#define HF_TESTS_POSIX_FUNCTIONS_H

#include "posix.h"

struct px_function {
	const char *name;
	px_fn *fn;
};
extern const struct px_function px_functions_both[], px_functions_map[], px_functions_lock[], px_functions_io[];

/* A call that has to succeed, or to give 'want'; else the function returns -1 with the reason. */
#define TRY(call) WANT(call, 0)
#define WANT(call, want)                                                                           \
	do {                                                                                       \
		int64_t got_ = (call);                                                             \
		if (got_ != (int64_t)(want))                                                       \
			return px_fail("line %d: %s gives %lld", __LINE__, #call, (long long)got_); \
	} while (0)
#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what))                                                                       \
			return px_fail("line %d: not so: %s", __LINE__, #what);                    \
	} while (0)

static inline int px_make(const struct px_backend *b, const char *path)
{
	int64_t err = b->mknod(path, 0100644, 0);

	return err ? px_fail("'%s' cannot be made: %lld", path, (long long)err) : 0;
}

#endif
