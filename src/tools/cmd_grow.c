/* holdfast grow: the volume takes what its device, or its file, became larger by. */
#include "tool.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

int cmd_grow(int argc, char **argv)
{
	uint64_t from = 0, to = 0;
	struct hf_grow_options opts = {.struct_size = sizeof(opts), .from = &from, .to = &to};
	bool json = false;
	char was[32], is[32];
	int status, err;

	status = tool_options(argc, argv, "[--json] VOLUME",
			      "The volume takes what its device or file became larger by ('truncate -s', 'ndctl create-namespace -e'); of\n"
			      "several devices the last one. It must not be mounted, and is verified first. Volumes do not shrink.\n"
			      "Exit status: 0 done, or there was nothing to take; 1 failed, 2 usage.",
			      NULL, true, NULL, NULL, &json);
	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return tool_usage("one VOLUME is needed");
	err = hf_grow(argv[optind], &opts);
	if (err)
		return tool_fail(err, "%s", argv[optind]);
	if (json)
		return tool_json_print(json_pack("{s:o,s:I,s:I}", "path", tool_json_name(argv[optind]), "from", (json_int_t)from, "to",
						 (json_int_t)to));
	if (from == to)
		printf("%s: has all of its device already, %s\n", argv[optind], tool_human(to, is));
	else
		printf("%s: grown from %s to %s\n", argv[optind], tool_human(from, was), tool_human(to, is));
	return EXIT_OK;
}
