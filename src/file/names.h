/* Unlink and rename with what they do about pins. The directories are references; the names are the
 * library's own memory; no lock is held, the gate is passed inside. how: NULL: HF_PINNED_DELAY. */
#ifndef HF_FILE_NAMES_H
#define HF_FILE_NAMES_H

#include "file/volume.h"

int names_unlink(struct inode *dir, const char *name, const struct hf_how *how);
int names_rename(struct inode *olddir, const char *oldname, struct inode *newdir,
		 const char *newname, unsigned flags, const struct hf_how *how);

#endif
