/* Thirty lines: a volume in a file, a directory, a file that is there after the program is gone. */
#include <holdfast.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "hello.hf", text[] = "held fast\n";
	struct hf_format_options fmt = {.struct_size = sizeof(fmt), .bytes = 64 << 20, .label = "hello"};
	hf_volume *vol;
	hf_file *file;
	char back[64];
	int err = hf_format(path, &fmt);

	if (!err)
		err = hf_mount(&vol, path, NULL);
	if (err) {
		fprintf(stderr, "%s\n", hf_errormsg());
		return 1;
	}
	hf_mkdir(vol, "/greetings", 0755);
	err = hf_open(vol, "/greetings/first", HF_O_RDWR | HF_O_CREAT, 0644, &file);
	if (!err && hf_pwrite(file, text, strlen(text), 0) > 0) {
		/* hf_pwrite has returned: a power failure now would not lose it */
		ssize_t n = hf_pread(file, back, sizeof(back), 0);
		printf("%.*s", (int)n, back);
		hf_close(&file);
	}
	return hf_unmount(&vol) ? 1 : err != 0;
}
