/* Every entry of a map, for check and dump: reads the media only, needs no mount. */
#include "inode/map_tree.h"

int map_walk_at(const struct pm *pm, const struct geo *geo, inum_t owner, enum fmt_fork fork,
		uint64_t entry, unsigned level, fblk_t at,
		int (*fn)(void *ctx, const struct map_visit *v), void *ctx)
{
	struct map_tree m = {
	    .pm = pm, .geo = geo, .owner = owner, .fork = fork, .root = entry, .height = level};
	struct map_iter it = {.m = &m};
	struct map_slot s;
	int ret;

	if (level > FMT_MAX_HEIGHT || at.v % fmt_level_blocks(level) != 0)
		return err_set(-EUCLEAN,
			       "inode %llu: no map entry is of level %u at file block %llu",
			       (unsigned long long)owner.v, level, (unsigned long long)at.v);
	m.key = fmt_map_key(geo, owner, fork);
	m.base = at.v;
	while (map_iter_next(&it, &s)) {
		struct map_visit v = {
		    .level = s.level,
		    .fblk = FBLK(s.base),
		    .entry = s.entry,
		    .where = s.off,
		    .verify_err = map_verify(&m, &s),
		};

		ret = fn(ctx, &v);
		if (ret)
			return ret;
		if (v.verify_err == 0 && map_is_node(s.entry))
			map_iter_enter(&it, &s);
	}
	return 0;
}

int map_walk(const struct pm *pm, const struct geo *geo, inum_t owner, enum fmt_fork fork,
	     uint64_t root, unsigned height, int (*fn)(void *ctx, const struct map_visit *v),
	     void *ctx)
{
	return map_walk_at(pm, geo, owner, fork, root, height, FBLK(0), fn, ctx);
}
