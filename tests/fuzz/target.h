/* One fuzz target: which parts of the image its inputs edit. The program is built once per target, with FUZZ_TARGET its name. */
#ifndef HF_FUZZ_TARGET_H
#define HF_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* What a mount and fsck say of the image that an input makes: "mount: ok; fsck: links bitmap". For the driver that replays. */
void target_verdict(const uint8_t *data, size_t size, char *out, size_t room);
/* Writes that image to a file, for the tools. 0, or -1: the target has none. */
int target_write(const uint8_t *data, size_t size, FILE *to);

#endif
