/* holdfast: one command, many verbs. Each verb is a file cmd_*.c. */
#include "tool.h"
#include <stdio.h>
#include <string.h>

struct verb {
	const char *name;
	tool_command *run;
	const char *help;
};

static const struct verb verbs[] = {
	{"put", cmd_put, "import files and trees into a volume"},
	{"get", cmd_get, "export files and trees from a volume"},
	{"ls", cmd_ls, "list a directory"},
	{"cat", cmd_cat, "print files"},
	{"stat", cmd_stat, "show an inode, its attributes and extents"},
	{"mkdir", cmd_mkdir, "make directories"},
	{"rm", cmd_rm, "remove files and trees"},
	{"mv", cmd_mv, "rename"},
	{"ln", cmd_ln, "make hard and symbolic links"},
	{"truncate", cmd_truncate, "set a file's size"},
	{"punch", cmd_punch, "punch a hole into a file"},
	{"df", cmd_df, "show how space is used"},
	{"info", cmd_info, "show what a volume is and what survives"},
	{"busy", cmd_busy, "show who holds what, and what is busy because of it"},
	{"frames", cmd_frames, "show the volume as a map of its frames"},
	{"scrub", cmd_scrub, "read everything, and tell what is damaged or bad media"},
	{"grow", cmd_grow, "take what the device became larger by"},
	{"dump", cmd_dump, "print on-media structures as JSON"},
	{"bench", cmd_bench, "measure against the raw memory"},
	{"crash", cmd_crash, "check every crash state of sequences of operations"},
};

static void print_verbs(FILE *to)
{
	size_t i;

	fprintf(to, "usage: holdfast COMMAND [options] VOLUME ...\n\n"
		    "Works on a holdfast volume (a device-DAX node or a file) that no other program has open.\n\ncommands:\n");
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].help);
	fprintf(to, "\n'holdfast COMMAND --help' says more. Exit status: 0 done, 1 failed, 2 usage.\n");
}

int main(int argc, char **argv)
{
	static char name[64];
	size_t i;

	tool_begin("holdfast");
	if (argc < 2) {
		print_verbs(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_verbs(stdout);
		return tool_finish(EXIT_OK);
	}
	if (!strcmp(argv[1], "--version")) {
		printf("holdfast %s\n", hf_version());
		return tool_finish(EXIT_OK);
	}
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(argv[1], verbs[i].name))
			continue;
		snprintf(name, sizeof(name), "holdfast %s", verbs[i].name);
		tool_name = name;
		return tool_finish(verbs[i].run(argc - 1, argv + 1));
	}
	return tool_usage("no command '%s'", argv[1]);
}
