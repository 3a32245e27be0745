/* The target 'id': what 'holdfast crash --replay' is given. */
#include "image.h"
#include "target.h"
#include "crash/fs.h"

#include <stdlib.h>

enum { ID_BYTES = 200, RUNNER_INPUTS = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fs_runner *runner;
	static unsigned inputs;
	struct hf_crash_options o = {.struct_size = sizeof(o), .seconds = 1};
	char id[ID_BYTES] = "", text[64];
	struct hf_crash_result res;
	uint64_t seed;
	uint32_t number;

	/* It remembers the images that it has seen. */
	if (inputs++ % RUNNER_INPUTS == 0) {
		fs_runner_free(runner);
		runner = fs_runner_new(&o, NULL, NULL);
	}
	FUZZ_MUST(runner, "no memory");
	/* Most inputs are to be of an id's shape. */
	if (size > 0 && data[0] & 1)
		snprintf(id, sizeof(id), "s1.w%u.p", data[0] * 3u);
	snprintf(text, sizeof(text), "%.*s", (int)(size < 60 ? size : 60), (const char *)data);
	strcat(id, text + (text[0] != '\0'));
	if (hf_crash_id_parse(id, &seed, &number) == 0)
		(void)fs_runner_replay(runner, id, &res);
	return 0;
}

void target_verdict(const uint8_t *data, size_t size, char *out, size_t room)
{
	(void)data;
	(void)size;
	if (room)
		*out = '\0';
}

int target_write(const uint8_t *data, size_t size, FILE *to)
{
	(void)data;
	(void)size;
	(void)to;
	return -1;
}
