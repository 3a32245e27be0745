/* One suite, an array of cases, an exit code. CUnit's own runner returns 0 with failures, so the
 *number of failures is looked at here:
 *
 *	static void test_add(void) { CU_ASSERT_EQUAL(1 + 1, 2); }
 *	static const struct hf_case cases[] = { { "add", test_add } };
 *	int main(void) { return hf_run_suite("sums", cases, HF_COUNT(cases)); }
 *
 * A case runs alone with HF_TEST_ONLY=<part of its name> in the environment. Assertions in a forked
 *child are lost: let the child exit with a code and assert on that. CU_ASSERT_FATAL leaves by
 *longjmp: not with a lock held.
 */
#ifndef HF_TESTS_CUNIT_MAIN_H
#define HF_TESTS_CUNIT_MAIN_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <CUnit/Basic.h>

#define HF_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HF_TEST_SKIP	77 /* the exit code of a test that could not run here */

struct hf_case {
	const char *name;
	void (*fn)(void);
};

/* Runs the cases in order; returns 0 when all passed, else 1: the exit code for main. */
static inline int hf_run_suite(const char *suite, const struct hf_case *cases, size_t n)
{
	const char *only = getenv("HF_TEST_ONLY");
	unsigned int failures;
	CU_pSuite s;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	s = CU_add_suite(suite, NULL, NULL);
	if (s == NULL)
		return 1;
	for (size_t i = 0; i < n; i++) {
		if (only && !strstr(cases[i].name, only))
			continue;
		if (CU_add_test(s, cases[i].name, cases[i].fn) == NULL)
			return 1;
	}
	CU_basic_set_mode(CU_BRM_VERBOSE);
	if (CU_basic_run_tests() != CUE_SUCCESS)
		return 1;
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}

#endif
