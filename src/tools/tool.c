#include "tool.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *tool_name = "holdfast";

/* A volume that is opened while one of them is closed would get its number, and messages would be written into it. Opened for
 * reading, so that what is printed fails as it would have. */
void tool_begin(const char *name)
{
	int fd;

	tool_name = name;
	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		exit(EXIT_FAILED);
	close(fd);
}

/* Names out of a volume may be anything: what is printed does not reach the terminal as it is. */
static void print_error(const char *fmt, va_list ap)
{
	char text[3 * 4096], quoted[4 * sizeof(text)];

	vsnprintf(text, sizeof(text), fmt, ap);
	fprintf(stderr, "%s: %s", tool_name, tool_quote(text, quoted, sizeof(quoted)));
}

void tool_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_error(fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* Most sentences begin with what they are about: it is not said twice. */
int tool_fail(int err, const char *fmt, ...)
{
	const char *sentence = hf_errormsg();
	char about[4096], quoted[4 * sizeof(about)];
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(about, sizeof(about), fmt, ap);
	va_end(ap);
	len = strlen(about);
	if (!*sentence)
		tool_error("%s: %s", about, strerror(-err));
	else if (strncmp(sentence, about, len) == 0 && sentence[len] == ':')
		fprintf(stderr, "%s: %s\n", tool_name, tool_quote(sentence, quoted, sizeof(quoted)));
	else
		tool_error("%s: %s", about, sentence);
	return EXIT_FAILED;
}

int tool_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_error(fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry '%s --help'.\n", tool_name);
	return EXIT_USAGE;
}

int tool_finish(int status)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		tool_error("cannot write to standard output: %s", strerror(errno));
		return EXIT_FAILED;
	}
	return status;
}

bool tool_parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGTPE";
	char *end;
	const char *unit;
	long double value;
	unsigned shift = 0;

	errno = 0;
	value = strtold(text, &end);
	if (end == text || errno || !(value >= 0) || *text == '-')
		return false;
	if (*end) {
		unit = strchr(units, *end >= 'a' ? *end - 32 : *end);
		if (!unit)
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
		if (strcmp(end, "") != 0 && strcmp(end, "iB") != 0 && strcmp(end, "B") != 0)
			return false;
	}
	value = ldexpl(value, (int)shift);
	if (value >= 9223372036854775808.0L || value != (long double)(uint64_t)value)
		return false;
	*out = (uint64_t)value;
	return true;
}

bool tool_parse_number(const char *text, int base, uint64_t max, uint64_t *out)
{
	char *end;
	unsigned long long value;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, base);
	if (errno || *end || value > max)
		return false;
	*out = value;
	return true;
}

const char *tool_human(uint64_t bytes, char buf[32])
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	unsigned i = 0;

	while (v >= 1024 && i < 6) {
		v /= 1024;
		i++;
	}
	snprintf(buf, 32, i == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, unit[i]);
	return buf;
}

const char *tool_time(int64_t ns, char buf[48])
{
	int64_t sec = ns / 1000000000, rest = ns % 1000000000;
	time_t t;
	struct tm tm;
	size_t n;

	if (rest < 0) {
		rest += 1000000000;
		sec--;
	}
	t = (time_t)sec;
	if (!localtime_r(&t, &tm)) {
		snprintf(buf, 48, "%lld ns", (long long)ns);
		return buf;
	}
	n = strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(buf + n, 48 - n, ".%09lld", (long long)rest);
	return buf;
}

const char *tool_uuid(const uint8_t u[16], char buf[37])
{
	snprintf(buf, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3], u[4],
		 u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	return buf;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 32);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool tool_parse_uuid(const char *text, uint8_t uuid[16])
{
	unsigned i = 0;
	int hi, lo;

	if (strlen(text) != 36)
		return false;
	while (*text) {
		if (*text == '-') {
			if (i != 4 && i != 6 && i != 8 && i != 10)
				return false;
			text++;
		}
		hi = hex_digit(text[0]);
		lo = hi < 0 ? -1 : hex_digit(text[1]);
		if (lo < 0 || i == 16)
			return false;
		uuid[i++] = (uint8_t)(hi << 4 | lo);
		text += 2;
	}
	return i == 16;
}

const char *tool_mode(uint32_t mode, char buf[11])
{
	static const char rwx[] = "rwxrwxrwx";
	const char *special = "sst", *special_off = "SST";
	unsigned i;

	switch (mode & S_IFMT) {
	case S_IFDIR: buf[0] = 'd'; break;
	case S_IFLNK: buf[0] = 'l'; break;
	case S_IFIFO: buf[0] = 'p'; break;
	case S_IFSOCK: buf[0] = 's'; break;
	case S_IFCHR: buf[0] = 'c'; break;
	case S_IFBLK: buf[0] = 'b'; break;
	default: buf[0] = '-'; break;
	}
	for (i = 0; i < 9; i++)
		buf[1 + i] = mode & (0400u >> i) ? rwx[i] : '-';
	for (i = 0; i < 3; i++)
		if (mode & (04000u >> i))
			buf[3 + 3 * i] = mode & (0100u >> (3 * i)) ? special[i] : special_off[i];
	buf[10] = 0;
	return buf;
}

const char *tool_quote(const char *name, char *out, size_t size)
{
	size_t n = 0;

	for (; *name && n + 5 < size; name++) {
		unsigned char c = (unsigned char)*name;

		if (c < 32 || c == 127 || c == '\\')
			n += (size_t)snprintf(out + n, size - n, "\\%03o", c);
		else
			out[n++] = (char)c;
	}
	out[n] = 0;
	return out;
}

int tool_json_print(json_t *obj)
{
	int err = json_dumpf(obj, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

	json_decref(obj);
	putchar('\n');
	return tool_finish(err ? EXIT_FAILED : EXIT_OK);
}

json_t *tool_json_name(const char *name)
{
	json_t *s = json_string(name);
	char utf8[2 * 4096 + 1];
	size_t n = 0;

	if (s)
		return s;
	for (; *name && n + 2 < sizeof(utf8); name++) {
		unsigned char c = (unsigned char)*name;

		if (c < 0x80) {
			utf8[n++] = (char)c;
		} else {
			utf8[n++] = (char)(0xc0 | c >> 6);
			utf8[n++] = (char)(0x80 | (c & 0x3f));
		}
	}
	utf8[n] = 0;
	return json_string(utf8);
}

int64_t tool_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

void progress_begin(struct progress *p, const char *what, bool wanted)
{
	*p = (struct progress){.what = what, .on = wanted && isatty(STDERR_FILENO)};
}

void progress_update(struct progress *p, uint64_t done, uint64_t total, const char *unit)
{
	int64_t now;
	unsigned filled, i;

	if (!p->on)
		return;
	now = tool_now_ns();
	if (p->shown && now - p->last_ns < 100000000)
		return;
	p->last_ns = now;
	p->shown = true;
	if (!total) {
		fprintf(stderr, "\r%s: %llu %s\033[K", p->what, (unsigned long long)done, unit);
		return;
	}
	filled = (unsigned)(30.0 * (double)done / (double)total);
	fprintf(stderr, "\r%s [", p->what);
	for (i = 0; i < 30; i++)
		fputc(i < filled ? '#' : '.', stderr);
	fprintf(stderr, "] %3u%%  %llu of %llu %s\033[K", (unsigned)(100.0 * (double)done / (double)total),
		(unsigned long long)done, (unsigned long long)total, unit);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fprintf(stderr, "\r\033[K");
	p->shown = false;
}

static void print_help(const char *synopsis, const char *about, const struct tool_option *options, bool json_too)
{
	const struct tool_option *o;
	char left[64];

	printf("usage: %s %s\n\n%s\n\noptions:\n", tool_name, synopsis, about);
	for (o = options; o && o->help; o++) {
		snprintf(left, sizeof(left), "%s%c%s%s%s%s", o->letter ? "-" : " ", o->letter ? o->letter : ' ',
			 o->letter && o->name ? ", " : "  ", o->name ? "--" : "", o->name ? o->name : "", o->has_arg ? " ARG" : "");
		printf("  %-24s %s\n", left, o->help);
	}
	if (json_too)
		printf("  %-24s %s\n", "    --json", "print JSON, for programs");
	printf("  %-24s %s\n", "-h, --help", "this text");
}

int tool_options(int argc, char **argv, const char *synopsis, const char *about, const struct tool_option *options, bool json_too,
		 bool (*fn)(void *ctx, char letter, const char *name, const char *arg), void *ctx, bool *json)
{
	enum { OPT_LONG_ONLY = 1000, OPT_JSON = 2000 };
	struct option longs[24] = {{0}};
	char shorts[64] = "+h";
	size_t n = 0, s = 2, count = 0;
	int c;

	for (; options && options[count].help; count++) {
		const struct tool_option *o = &options[count];

		if (o->name)
			longs[n++] = (struct option){o->name, o->has_arg ? required_argument : no_argument, NULL,
						     OPT_LONG_ONLY + (int)count};
		if (o->letter) {
			shorts[s++] = o->letter;
			if (o->has_arg)
				shorts[s++] = ':';
		}
	}
	shorts[s] = 0;
	longs[n++] = (struct option){"help", no_argument, NULL, 'h'};
	if (json_too)
		longs[n++] = (struct option){"json", no_argument, NULL, OPT_JSON};
	optind = 0;
	opterr = 0;
	for (;;) {
		c = getopt_long(argc, argv, shorts, longs, NULL);
		if (c == -1)
			return -1;
		if (c == 'h') {
			print_help(synopsis, about, options, json_too);
			return tool_finish(EXIT_OK);
		}
		if (c == '?')
			return tool_usage("unknown option or missing argument: %s", argv[optind - 1]);
		if (c == OPT_JSON) {
			*json = true;
			continue;
		}
		if (c >= OPT_LONG_ONLY) {
			const struct tool_option *o = &options[c - OPT_LONG_ONLY];

			if (!fn(ctx, o->letter, o->name, optarg))
				return tool_usage("bad argument for --%s: %s", o->name, optarg ? optarg : "");
		} else if (!fn(ctx, (char)c, NULL, optarg)) {
			return tool_usage("bad argument for -%c: %s", c, optarg ? optarg : "");
		}
	}
}

hf_volume *tool_mount(const char *path, unsigned flags)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts), .flags = flags};
	hf_volume *vol;
	int err = hf_mount(&vol, path, &opts);

	if (err)
		tool_fail(err, "%s", path);
	return err ? NULL : vol;
}

hf_volume *tool_mount_to_look(const char *path)
{
	struct hf_mount_options ro = {.struct_size = sizeof(ro), .flags = HF_MOUNT_RDONLY};
	hf_volume *vol;

	return hf_mount(&vol, path, &ro) == 0 ? vol : tool_mount(path, 0);
}

int tool_unmount(hf_volume **vol, int status)
{
	int err = hf_unmount(vol);

	if (err)
		return tool_fail(err, "unmount");
	return status;
}
