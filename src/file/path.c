/* Paths and names as the caller gives them. */
#include "file/volume.h"

#include <string.h>

int path_copy(struct path *p, const char *from)
{
	char *end;

	if (!from)
		return err_set(-EINVAL, "the path is NULL");
	end = memccpy(p->s, from, '\0', sizeof(p->s));
	if (!end)
		return err_set(-ENAMETOOLONG, "a path has at most %zu bytes", sizeof(p->s) - 1);
	return p->s[0] ? 0 : err_set(-ENOENT, "the path is empty");
}

int path_name_copy(char to[256], const char *from)
{
	if (!from)
		return err_set(-EINVAL, "the name is NULL");
	if (!memccpy(to, from, '\0', 256))
		return err_set(-ENAMETOOLONG, "a name has at most %u bytes", FMT_NAME_MAX);
	if (to[0] == '\0')
		return err_set(-ENOENT, "the name is empty");
	return strchr(to, '/') ? err_set(-EINVAL, "'%s' is no name: it has a slash", to) : 0;
}

int path_parent(struct hf_volume *vol, const char *path, struct inode **dir, char last[256],
		bool *is_dir)
{
	struct path p;
	int err = path_copy(&p, path);

	*dir = NULL;
	*is_dir = false;
	return err ? err : name_walk(&vol->fs, NULL, p.s, WALK_PARENT, dir, last, is_dir);
}

int path_new_slash(struct inode *dir, const char *name)
{
	struct inode *in;
	int err = name_lookup(dir, name, &in);

	if (!err)
		inode_put(in);
	return err ? err : -EEXIST;
}

int path_inode(struct hf_volume *vol, const char *path, bool follow, struct inode **out)
{
	struct path p;
	char last[256];
	bool is_dir;
	int err = path_copy(&p, path);

	*out = NULL;
	return err ? err
		   : name_walk(&vol->fs, NULL, p.s, follow ? 0 : WALK_NOFOLLOW, out, last, &is_dir);
}
