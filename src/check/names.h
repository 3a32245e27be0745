/* Directories that are built from a list of names. */
#ifndef HF_CHECK_NAMES_H
#define HF_CHECK_NAMES_H

#include "check/check.h"
#include "dir/bucket.h"

/* A bucket's bytes from its entries, which fit. */
void check_bucket_compose(const struct geo *g, const struct bucket_id *id, const struct dir_entry *e, unsigned n, struct fmt_bucket *out);
/* The directory's index again, from the entries of its buckets, which verify. False: no space; nothing was changed. */
bool check_dir_rebuild(struct check *c, inum_t dir);

#endif
