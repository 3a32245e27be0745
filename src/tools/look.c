#include "look.h"
#include "media/pm_impl.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* It is mounted: no lock can be had, and none is needed to read what the owner has put in place. */
static int open_live(const char *path, struct look *l)
{
	struct pm_open_args args = {.read_only = true, .no_lock = true};
	struct stat st;
	int err = pm_open(path, &args, &l->medium);

	if (err)
		return err;
	l->pm = l->medium;
	l->live = true;
	l->owner = stat(path, &st) == 0 ? pm_lock_owner(st.st_dev, st.st_ino) : 0;
	if (l->owner <= 0)
		l->owner = -1;
	return geo_read(l->pm, &l->geo);
}

int look_open(const char *path, struct look *l)
{
	uint64_t records;
	int err;

	*l = (struct look){0};
	err = check_image_open(path, &l->img, &records);
	if (err == -EBUSY) {
		err = open_live(path, l);
		if (err)
			look_close(l);
		return err;
	}
	if (err)
		return err;
	l->pm = check_image_pm(l->img);
	l->geo = *check_image_geo(l->img);
	if (check_image_journal_error(l->img))
		tool_error("%s: %s; shown without the journal", path, check_image_journal_error(l->img));
	return 0;
}

void look_close(struct look *l)
{
	if (l->img)
		check_image_close(&l->img);
	pm_close(&l->medium);
	l->pm = NULL;
}
