#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERR_MSG_SIZE 512

static _Thread_local char err_buf[ERR_MSG_SIZE];

int err_set(int err, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE]; /* an argument may be err_msg() itself */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(err_buf, text, sizeof(err_buf));
	return err;
}

int err_prefix(int err, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = strlen(text);
	for (const char *p = ": "; *p && err_buf[0] && len < sizeof(text) - 1; p++)
		text[len++] = *p;
	for (const char *p = err_buf; *p && len < sizeof(text) - 1; p++)
		text[len++] = *p;
	text[len] = '\0';
	memcpy(err_buf, text, sizeof(err_buf));
	return err;
}

const char *err_msg(void)
{
	return err_buf;
}

void err_clear(void)
{
	err_buf[0] = '\0';
}

void hf_assert_fail(const char *expr, const char *file, int line)
{
	fprintf(stderr, "holdfast: assertion failed: %s (%s:%d)\n", expr, file, line);
	abort();
}
