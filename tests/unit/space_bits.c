/* The bitmap with summaries, against one without. */
#include "cunit_main.h"
#include "base/error.h"
#include "base/hash.h"
#include "space/bits.h"

#define MAX_BITS 300000u

static uint8_t model[MAX_BITS];
static uint64_t seed;

static uint64_t roll(uint64_t below)
{
	seed = hash_mix2(seed, below);
	return seed % below;
}

static uint64_t model_next(uint64_t n, uint64_t from)
{
	for (uint64_t i = from; i < n; i++) {
		if (model[i])
			return i;
	}
	return BITS_NONE;
}

static uint64_t model_run(uint64_t n, uint64_t first, uint64_t max)
{
	uint64_t len = 0;

	while (len < max && first + len < n && model[first + len])
		len++;
	return len;
}

static void change(struct bits *b, uint64_t n)
{
	uint64_t first = roll(n), len = roll(roll(2) ? n - first : 3);

	if (len > n - first)
		len = n - first;
	switch (roll(6)) {
	case 4: { /* bits of one word, of which some may be set already */
		uint64_t word = first / 64, mask = 0;

		for (uint64_t i = 0; i < 64 && word * 64 + i < n; i += 1 + roll(5)) {
			mask |= 1ull << i;
			model[word * 64 + i] = 1;
		}
		bits_set_word(b, word, mask);
		break;
	}
	case 5: {
		uint64_t word = first / 64, mask = roll(3) ? UINT64_MAX : roll(UINT64_MAX - 1) + 1;

		for (uint64_t i = 0; i < 64 && word * 64 + i < n; i++)
			if (mask >> i & 1)
				model[word * 64 + i] = 0;
		bits_clear_word(b, word, mask);
		break;
	}
	case 0:
		bits_set_range(b, first, len);
		memset(model + first, 1, len);
		break;
	case 1:
		bits_clear_range(b, first, len);
		memset(model + first, 0, len);
		break;
	case 2:
		bits_set(b, first);
		model[first] = 1;
		break;
	default:
		bits_clear(b, first);
		model[first] = 0;
	}
}

static void run_size(uint64_t n, unsigned int rounds)
{
	/* Neighbours share its lines and stay as they are. */
	struct bits many[3], *mid = &many[1];
	uint64_t bad = 0;

	CU_ASSERT_EQUAL_FATAL(bits_init(many, 3, n), 0);
	bits_set_range(&many[0], 0, n);
	memset(model, 0, n);
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t at;

		change(mid, n);
		at = roll(n);
		bad += bits_next(mid, at) != model_next(n, at);
		bad += bits_run(mid, at, n / 2 + 1) != model_run(n, at, n / 2 + 1);
		bad += bits_test(mid, at) != model[at];
	}
	/* What is left of the summaries must vanish with the last bit. */
	bits_clear_range(mid, 0, n);
	bad += bits_next(mid, 0) != BITS_NONE;
	for (unsigned int k = 0; k < mid->levels; k++)
		bad += mid->w[k][0] != 0;
	bad += bits_run(&many[0], 0, n) != n;
	bad += bits_next(&many[2], 0) != BITS_NONE;
	CU_ASSERT_EQUAL(bad, 0);
	bits_destroy(many);
}

static void test_sizes(void)
{
	static const uint64_t sizes[] = {1,    2,    63,   64,	 65,	 127,	 128,
					 4095, 4096, 4097, 8192, 262144, 262145, MAX_BITS};
	unsigned int rounds = getenv("HF_TEST_SHORT") ? 30 : 600;

	for (size_t i = 0; i < HF_COUNT(sizes); i++)
		run_size(sizes[i], sizes[i] > 100000 ? rounds / 4 : rounds);
}

static void test_next_at_end(void)
{
	struct bits b;

	CU_ASSERT_EQUAL_FATAL(bits_init(&b, 1, 100), 0);
	bits_set(&b, 99);
	CU_ASSERT_EQUAL(bits_next(&b, 99), 99);
	CU_ASSERT_EQUAL(bits_next(&b, 100), BITS_NONE);
	CU_ASSERT_EQUAL(bits_run(&b, 99, 5), 1);
	bits_destroy(&b);
}

static const struct hf_case cases[] = {
    {"sizes", test_sizes},
    {"next_at_end", test_next_at_end},
};

int main(void)
{
	seed = getenv("HF_TEST_SEED") ? strtoull(getenv("HF_TEST_SEED"), NULL, 0) : 1;
	return hf_run_suite("space_bits", cases, HF_COUNT(cases));
}
