/* What a mounted volume is made of, for the layers from inode up. Lives as long as the mount. */
#ifndef HF_INODE_FS_H
#define HF_INODE_FS_H

#include "media/pm.h"
#include "format/geo.h"
#include "journal/journal.h"
#include "space/space.h"

enum fs_quiet { QUIET_NO, QUIET_WRITING, QUIET_FROZEN };

struct itable;
struct orphans;
struct pins;
struct name_cache;

struct fs {
	struct pm *pm;
	struct geo geo;
	struct journal *journal;
	struct space *space;
	struct itable *itable;
	struct orphans *orphans;
	struct pins *pins;		/* src/pin */
	struct name_cache *names;	/* src/dir; NULL: none */
	struct mtx rename_lock;		/* RANK_RENAME: directories that change parent */
	/* Who may commit although a reader called it: the cache's last resort, which writes times to make room (QUIET_WRITING, one
	 * thread at a time), or nobody, while the volume is frozen. No lock: the thread that froze the volume goes on taking
	 * locks. */
	_Atomic uint32_t quiet;
	bool read_only;
	bool keeps_atime; /* reading changes no times: so it was asked for, or read_only */
};

#endif
