/* What workloads are made of. The members of struct load_step that each uses: steps.c. */
#ifndef HF_TESTS_CRASH_STEPS_H
#define HF_TESTS_CRASH_STEPS_H

#include "load.h"

#define STEP_APPEND UINT64_MAX /* an offset: at the end of file */

load_fn step_create, step_put, step_write, step_fallocate, step_fsync, step_truncate;
load_fn step_mkdir, step_rmdir, step_rename, step_link, step_symlink, step_long_symlink, step_unlink;
load_fn step_setxattr, step_removexattr, step_chmod, step_checkpoint, step_syncfs, step_tmpfile;
load_fn step_open, step_open_write, step_open_truncate, step_open_allocate;
load_fn step_fill_dir, step_scatter, step_dirty, step_lane;

#endif
