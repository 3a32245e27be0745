/* Where mount.holdfast shows a volume, from /proc/self/mountinfo. A line:
 *
 *	36 35 0:52 / /mnt/data rw,relatime shared:1 - fuse.holdfast /dev/dax0.0 rw,user_id=0
 *	           ^ mounted on                                     ^ the volume's real path, or those of its devices, A:B
 *
 * with blanks and backslashes in names as three octal digits. */
#include "media/pm_lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOUNTED_MARK " - fuse.holdfast "

/* Ends the word, undoes its escapes. */
static void word_end(char *word)
{
	char *to = word;

	word[strcspn(word, " \n")] = '\0';
	for (const char *from = word; *from; to++) {
		unsigned int c;

		if (*from == '\\' && sscanf(from + 1, "%3o", &c) == 1 && strlen(from) > 3) {
			*to = (char)c;
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* Is it the volume, or one of the devices in its name? */
static bool source_has(const char *source, const char *volume)
{
	size_t len = strlen(volume);

	for (const char *at = source; at; at = strchr(at, ':')) {
		at += at > source;
		if (strncmp(at, volume, len) == 0 && (at[len] == '\0' || at[len] == ':'))
			return true;
	}
	return false;
}

/* Cuts the line up. NULL: it is no mount of this volume. */
static const char *line_mounted_on(char *line, const char *volume)
{
	char *mark = strstr(line, MOUNTED_MARK), *source, *at = line;

	if (!mark)
		return NULL;
	source = mark + strlen(MOUNTED_MARK);
	word_end(source);
	if (!source_has(source, volume))
		return NULL;
	for (int blanks = 0; at < mark && blanks < 4; at++)
		blanks += *at == ' ';
	word_end(at);
	return at;
}

bool pm_lock_mounted_on(const char *path, char *out, size_t size)
{
	char *real = realpath(path, NULL), *line = NULL;
	FILE *f = real ? fopen("/proc/self/mountinfo", "re") : NULL;
	const char *found = NULL;
	size_t room = 0;

	out[0] = '\0';
	while (f && !found && getline(&line, &room, f) > 0) {
		found = line_mounted_on(line, real);
		if (found)
			snprintf(out, size, "%s", found);
	}
	if (f)
		fclose(f);
	free(line);
	free(real);
	return found != NULL;
}
