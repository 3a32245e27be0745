/* Inputs are lists of steps of the same size: they are changed as such. */
#include "edit.h"
#include "target.h"

static uint64_t next(uint64_t *seed)
{
	*seed += 0x9e3779b97f4a7c15ull;
	return hash_mix(*seed);
}

static void new_step(uint8_t *step, uint64_t *seed)
{
	for (unsigned i = 0; i < FUZZ_STEP_BYTES; i += 8) {
		uint64_t r = next(seed);

		memcpy(step + i, &r, 8);
	}
	step[0] = (uint8_t)(step[0] | 0x80);	/* any kind of the target */
	if (next(seed) % 4)		/* small numbers */
		memset(step + 10, 0, 6);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	size_t n = size / FUZZ_STEP_BYTES, room = max / FUZZ_STEP_BYTES, at, from;
	uint64_t r = seed;
	uint8_t step[FUZZ_STEP_BYTES];

	if (room > FUZZ_STEPS_MAX)
		room = FUZZ_STEPS_MAX;
	if (room == 0)
		return 0;
	n = n > room ? room : n;
	at = n ? next(&r) % n : 0;
	from = n ? next(&r) % n : 0;
	switch (next(&r) % 8) {
	case 0:
	case 1:				/* another one, or one twice */
		if (n == room)
			break;
		if (n && next(&r) % 2)
			memcpy(step, data + from * FUZZ_STEP_BYTES, FUZZ_STEP_BYTES);
		else
			new_step(step, &r);
		memmove(data + (at + 1) * FUZZ_STEP_BYTES, data + at * FUZZ_STEP_BYTES, (n - at) * FUZZ_STEP_BYTES);
		memcpy(data + at * FUZZ_STEP_BYTES, step, FUZZ_STEP_BYTES);
		return (n + 1) * FUZZ_STEP_BYTES;
	case 2:				/* one less */
		if (n < 2)
			break;
		memmove(data + at * FUZZ_STEP_BYTES, data + (at + 1) * FUZZ_STEP_BYTES, (n - at - 1) * FUZZ_STEP_BYTES);
		return (n - 1) * FUZZ_STEP_BYTES;
	case 3:				/* the order */
		if (n < 2)
			break;
		memcpy(step, data + at * FUZZ_STEP_BYTES, FUZZ_STEP_BYTES);
		memcpy(data + at * FUZZ_STEP_BYTES, data + from * FUZZ_STEP_BYTES, FUZZ_STEP_BYTES);
		memcpy(data + from * FUZZ_STEP_BYTES, step, FUZZ_STEP_BYTES);
		return n * FUZZ_STEP_BYTES;
	default:
		break;
	}
	if (n == 0) {
		new_step(data, &r);
		return FUZZ_STEP_BYTES;
	}
	(void)LLVMFuzzerMutate(data + at * FUZZ_STEP_BYTES, FUZZ_STEP_BYTES, FUZZ_STEP_BYTES);
	return n * FUZZ_STEP_BYTES;
}
