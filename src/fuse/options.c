/* The command line: mount(8)'s, "VOLUME DIR [-sfnv] [-o options]", and FUSE's -f and -d. */
#include "mount.h"
#include "../tools/tool.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct flag {
	const char *name;
	size_t at;
	bool value;
};
#define FLAG(name, field, value) {name, offsetof(struct mount_options, field), value}
static const struct flag flags[] = {
	FLAG("ro", read_only, true),	    FLAG("rw", read_only, false),
	FLAG("nosuid", nosuid, true),	    FLAG("suid", nosuid, false),
	FLAG("nodev", nodev, true),	    FLAG("dev", nodev, false),
	FLAG("noexec", noexec, true),	    FLAG("exec", noexec, false),
	FLAG("sync", sync, true),	    FLAG("async", sync, false),
	FLAG("dirsync", dirsync, true),	    FLAG("noatime", noatime, true),
	FLAG("atime", noatime, false),	    FLAG("relatime", noatime, false),
	FLAG("allow_other", allow_other, true), FLAG("auto_unmount", auto_unmount, true),
	FLAG("direct_io", direct_io, true), FLAG("no_msync", no_msync, true),
	FLAG("foreground", foreground, true), FLAG("debug", debug, true),
};

/* What mount(8) and fstab say to others, or what is the case anyway. */
static const char *const ignored[] = {"defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group",
				      "default_permissions", "nodiratime", "diratime"};

static bool option_ignored(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if (strcmp(name, ignored[i]) == 0)
			return true;
	return strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0 || strncmp(name, "comment=", 8) == 0 ||
	       strncmp(name, "user=", 5) == 0;
}

static bool option_flag(struct mount_options *o, const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (strcmp(name, flags[i].name))
			continue;
		*(bool *)((char *)o + flags[i].at) = flags[i].value;
		return true;
	}
	return false;
}

/* "name=number": 0: not this name; -1: go on. */
static int option_number(const char *text, const char *name, unsigned *out)
{
	size_t len = strlen(name);
	uint64_t n;

	if (strncmp(text, name, len) || text[len] != '=')
		return 0;
	if (!tool_parse_number(text + len + 1, 10, UINT_MAX, &n) || n == 0)
		return tool_usage("option '%s': %s takes a number from 1 on", text, name);
	*out = (unsigned)n;
	return -1;
}

static int option_node(struct mount_options *o, const char *text)
{
	uint64_t n;

	if (strncmp(text, "numa_node=", 10) != 0)
		return 0;
	if (!tool_parse_number(text + 10, 10, INT_MAX, &n))
		return tool_usage("option '%s': numa_node takes the number of a node", text);
	o->on_node = true;
	o->numa_node = (unsigned)n;
	return -1;
}

static int option_uuid(struct mount_options *o, const char *text)
{
	if (strncmp(text, "uuid=", 5) != 0)
		return 0;
	o->this_uuid = tool_parse_uuid(text + 5, o->uuid);
	return o->this_uuid ? -1 : tool_usage("option '%s': no uuid", text);
}

static int option_one(struct mount_options *o, const char *name, bool sloppy)
{
	int ret;

	if (*name == '\0' || option_flag(o, name) || option_ignored(name))
		return -1;
	ret = option_number(name, "max_threads", &o->max_threads);
	if (!ret)
		ret = option_number(name, "max_inodes", &o->max_inodes);
	if (!ret)
		ret = option_node(o, name);
	if (!ret)
		ret = option_uuid(o, name);
	if (ret)
		return ret;
	if (strcmp(name, "remount") == 0)
		return tool_usage("a holdfast volume cannot be remounted: unmount it and mount it with the new options");
	return sloppy ? -1 : tool_usage("unknown option '%s'", name);
}

static int option_list(struct mount_options *o, char *list, bool sloppy)
{
	char *rest = NULL, *name = strtok_r(list, ",", &rest);
	int ret = -1;

	for (; name && ret < 0; name = strtok_r(NULL, ",", &rest))
		ret = option_one(o, name, sloppy);
	return ret;
}

static int print_help(void)
{
	puts("usage: mount.holdfast VOLUME DIR [-f] [-d] [-o OPTION[,OPTION...]]\n\n"
	     "Mounts a holdfast volume on a directory, by FUSE, and returns when it is mounted.\n"
	     "A volume of several devices is named A:B.\n"
	     "End it with 'umount DIR' or 'fusermount3 -u DIR'.\n\n"
	     "options:\n"
	     "  -f, -o foreground     serve in the foreground until it is unmounted\n"
	     "  -d, -o debug          the same, and print each request\n"
	     "  -o ro                 change nothing\n"
	     "  -o allow_other        other users may use it, too (root)\n"
	     "  -o auto_unmount       unmount when this process dies\n"
	     "  -o direct_io          no page cache: each read and write of a program is one of the volume\n"
	     "  -o noatime            reading changes no times\n"
	     "  -o no_msync           a volume in a file: survive a crash of the process, not of the machine\n"
	     "  -o uuid=UUID          only this volume ('holdfast info' shows it), should another be there\n"
	     "  -o max_threads=N      threads that serve at most (10)\n"
	     "  -o max_inodes=N       inodes in use at a time at most (65536)\n"
	     "  -o numa_node=N        of several devices, fill those on this NUMA node first\n"
	     "  -o nosuid, nodev, noexec, sync, dirsync\n"
	     "                        as for mount(8)\n"
	     "  -h, --help            this text\n"
	     "  -V, --version         the version");
	return tool_finish(EXIT_OK);
}

/* Absolute, because the serving process leaves its directory. */
static int option_path(const char *path, const char *what, char **out)
{
	*out = realpath(path, NULL);
	if (*out)
		return -1;
	tool_error("%s: the %s cannot be found: %s", path, what, strerror(errno));
	return EXIT_FAILED;
}

/* Of a device that is not there hf_mount has more to say. */
static int option_device(const char *path, char **out)
{
	if (access(path, F_OK) == 0 || errno != ENOENT)
		return option_path(path, "volume", out);
	*out = strdup(path);
	return *out ? -1 : tool_fail(-ENOMEM, "%s", path);
}

/* One more of several devices. */
static int option_append(const char *name, char **list)
{
	char *real = NULL, *more = NULL;
	int ret = option_device(name, &real);

	if (ret < 0 && strchr(real, ':')) {
		tool_error("%s: its full path (%s) has a colon, which stands between the devices of a list: put it elsewhere, or mount a volume of "
			   "one device", name, real);
		ret = EXIT_FAILED;
	}
	if (ret < 0 && asprintf(&more, "%s%s%s", *list ? *list : "", *list ? ":" : "", real) < 0)
		ret = tool_fail(-ENOMEM, "%s", name);
	free(real);
	if (ret < 0) {
		free(*list);
		*list = more;
	}
	return ret;
}

static int option_volume(const char *path, char **out)
{
	char *names, *name, *rest;
	int ret = -1;

	if (!strchr(path, ':') || access(path, F_OK) == 0)
		return option_device(path, out);
	names = rest = strdup(path);
	if (!names)
		return tool_fail(-ENOMEM, "%s", path);
	for (name = strsep(&rest, ":"); name && ret < 0; name = strsep(&rest, ":"))
		ret = option_append(name, out);
	free(names);
	return ret;
}

/* Opened, for the kernel may remember attributes of a mount that is dead. */
static int option_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	else if (errno != EACCES) {
		tool_error("%s: cannot be mounted on: %s%s", dir, strerror(errno),
			   errno == ENOTCONN ? ": unmount what a process that has died left here" : "");
		return EXIT_FAILED;
	}
	return -1;
}

static int options_operands(struct mount_options *o, int argc, char **argv)
{
	int ret;

	if (argc - optind != 2)
		return tool_usage("a VOLUME and a DIR are needed");
	ret = option_volume(argv[optind], &o->volume);
	if (ret < 0)
		ret = option_path(argv[optind + 1], "directory to mount on", &o->dir);
	if (ret < 0)
		ret = option_dir(o->dir);
	return ret;
}

int options_parse(int argc, char **argv, struct mount_options *o)
{
	static const struct option longs[] = {
	    {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
	bool sloppy = false;
	int c, ret = -1;

	*o = (struct mount_options){0};
	opterr = 0;
	while (ret < 0) {
		c = getopt_long(argc, argv, "fdsnvhVo:t:", longs, NULL);
		if (c == -1)
			return options_operands(o, argc, argv);
		switch (c) {
		case 'f': o->foreground = true; break;
		case 'd': o->debug = true; break;
		case 's': sloppy = true; break;
		case 'n':
		case 'v':
		case 't': break;	/* mount(8) says them to each helper */
		case 'o': ret = option_list(o, optarg, sloppy); break;
		case 'h': ret = print_help(); break;
		case 'V':
			printf("mount.holdfast %s\n", hf_version());
			ret = tool_finish(EXIT_OK);
			break;
		default: ret = tool_usage("unknown option or missing argument: %s", argv[optind - 1]);
		}
	}
	return ret;
}

void options_free(struct mount_options *o)
{
	free(o->volume);
	free(o->dir);
	o->volume = o->dir = NULL;
}

/* ---- what libfuse is told */

static int fuse_arg(struct fuse_args *args, const char *option)
{
	return fuse_opt_add_arg(args, "-o") || fuse_opt_add_arg(args, option);
}

/* The name in /proc/mounts: commas in it would end it. */
static int fuse_arg_volume(struct fuse_args *args, const char *volume)
{
	char *name, *opts = NULL;
	int err = asprintf(&name, "fsname=%s", volume) < 0;

	if (err)
		return err;
	err = fuse_opt_add_opt_escaped(&opts, name) || fuse_arg(args, opts);
	free(opts);
	free(name);
	return err;
}

/* libfuse refuses set-user-ID bits and devices unless it is told; a mount by a user it refuses them anyway. */
int options_fuse_args(const struct mount_options *o, struct fuse_args *args)
{
	const struct {
		bool on;
		const char *option;
	} opts[] = {
	    {true, "default_permissions"},    {true, "subtype=holdfast"},	{o->read_only, "ro"},
	    {!o->nosuid, "suid"},	      {!o->nodev, "dev"},		{o->noexec, "noexec"},
	    {o->noatime, "noatime"},	      {o->sync, "sync"},		{o->dirsync, "dirsync"},
	    {o->allow_other, "allow_other"},  {o->auto_unmount, "auto_unmount"}, {o->debug, "debug"},
	};
	int err = fuse_opt_add_arg(args, "mount.holdfast");

	for (size_t i = 0; !err && i < sizeof(opts) / sizeof(opts[0]); i++)
		if (opts[i].on)
			err = fuse_arg(args, opts[i].option);
	if (!err)
		err = fuse_arg_volume(args, o->volume);
	return err ? -ENOMEM : 0;
}
