/* What is at a path: for mkfs's checks and for 'holdfast info'. Opens nothing for writing. */
#ifndef HF_MEDIA_PROBE_H
#define HF_MEDIA_PROBE_H

#include "media/pm.h"

struct probe {
	bool exists, is_chardev_dax, is_regular;
	bool read_only, locked;			/* of a file; locked: pid has the owner where known */
	int pid;
	uint64_t size, align;			/* size 0 for an empty file */
	bool has_content;			/* a signature, or a non-zero byte where mkfs looks */
	char what[160];				/* the sentence: what was seen ("an ext4 file system", "non-zero content at ...") */
	char domain[32];			/* persistence domain from libndctl/sysfs, "" unknown */
	int numa_node;				/* -1 unknown */
	uint64_t bad_blocks;			/* number of 512-byte bad blocks, 0 none/unknown */
};
/* 0, or a negative errno with the sentence that pm_open gives of a device that can have no volume, or where nothing could be found
 * out. A missing file is exists=false and 0, a missing device is -ENOENT. */
int probe_path(const char *path, struct probe *out);

#endif
